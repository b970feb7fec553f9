//! The operations of STS that are needed.

use std::time::Duration;

use jiff::Timestamp;
use keyturn_http::call::{Call, Service};
use reqwest::{Method, Url};
use secrecy::SecretString;
use serde::Deserialize;

use super::answers::{Credentials, read};
use super::{AWS, AccessKey, Aws, Role, sign};
use crate::{Granted, IdentityError};

const VERSION: (&str, &str) = ("Version", "2011-06-15");
/// How long the token is good for where nobody says: it is exchanged at once.
pub(super) const TOKEN_LASTS: Duration = Duration::from_secs(300);

/// Where the global endpoint is at home (<https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_region-endpoints.html>).
const HOME: &str = "us-east-1";
const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];

/// What a session is called where nobody says.
pub(super) const SESSION: &str = "keyturn";

#[derive(Deserialize)]
struct AssumeRole {
    #[serde(rename = "AssumeRoleResult", alias = "AssumeRoleWithWebIdentityResult")]
    result: Assumed,
}

#[derive(Deserialize)]
struct Assumed {
    #[serde(rename = "Credentials")]
    credentials: Credentials,
}

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
pub(super) async fn assume_role(
    by: &Aws,
    role: &Role,
    now: Timestamp,
) -> Result<Granted<AccessKey>, IdentityError> {
    let mut fields = vec![
        ("Action", "AssumeRole"),
        VERSION,
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", role.session_name.as_deref().unwrap_or(SESSION)),
    ];
    fields.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
    let answer: AssumeRole = signed(by, role.sts_endpoint.as_deref(), &fields).await?;
    answer.result.credentials.granted(AWS, now)
}

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
pub(super) async fn assume_role_with_web_identity(
    by: &Aws,
    endpoint: Option<&str>,
    (role, session_name): (&str, &str),
    token: &SecretString,
    now: Timestamp,
) -> Result<Granted<AccessKey>, IdentityError> {
    use secrecy::ExposeSecret as _;
    let fields = [
        ("Action", "AssumeRoleWithWebIdentity"),
        VERSION,
        ("RoleArn", role),
        ("RoleSessionName", session_name),
        ("WebIdentityToken", token.expose_secret()),
    ];
    let service = sts(by, endpoint)?;
    let call = service.call(Method::POST, &[]).form(&fields).hiding(token).within(crate::LIMIT);
    let answer = call.answer().await.map_err(|error| IdentityError::of_call(AWS, &error))?;
    read::<AssumeRole>(&answer)?.result.credentials.granted(AWS, now)
}

/// The token of [`Aws::web_identity_token`]. The regions' endpoints have it, the global one has not. The shapes are those
/// of botocore's service model (`sts/2011-06-15`): a list of audiences, 60 to 3600 seconds, `RS256` or `ES384`; of the
/// errors, `OutboundWebIdentityFederationDisabledException`, `SessionDurationEscalationException` (our own session ends
/// before the token would) and `JWTPayloadSizeExceededException`, none passes by itself.
pub(super) async fn web_identity_token(
    by: &Aws,
    audience: &str,
    lasts: Duration,
) -> Result<SecretString, IdentityError> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(rename = "GetWebIdentityTokenResult")]
        result: Found,
    }
    #[derive(Deserialize)]
    struct Found {
        #[serde(rename = "WebIdentityToken")]
        token: SecretString,
    }
    let seconds = lasts.as_secs().to_string();
    let fields = [
        ("Action", "GetWebIdentityToken"),
        VERSION,
        ("Audience.member.1", audience),
        ("DurationSeconds", &*seconds),
        ("SigningAlgorithm", "RS256"),
    ];
    Ok(signed::<Response>(by, None, &fields).await?.result.token)
}

async fn signed<T: serde::de::DeserializeOwned>(
    by: &Aws,
    endpoint: Option<&str>,
    fields: &[(&str, &str)],
) -> Result<T, IdentityError> {
    let service = sts(by, endpoint)?;
    // The key may have to be fetched itself: boxed, since one identity asks another.
    let key = Box::pin(by.access_key()).await?;
    let region = region_of(service.base()).or(by.region()).unwrap_or(HOME).to_owned();
    let call: Call<'_> = service.call(Method::POST, &[]).form(fields).within(crate::LIMIT);
    let call = sign(call, &key, "sts", &region, by.now());
    let answer = call.answer().await.map_err(|error| IdentityError::of_call(AWS, &error))?;
    read(&answer)
}

/// The region that an endpoint's calls are signed for, as its host name tells: `sts.eu-west-1.amazonaws.com`,
/// `vpce-1.sts.eu-west-1.vpce.amazonaws.com`; the global endpoint's have a region too.
fn region_of(url: &Url) -> Option<&str> {
    let host = url.host_str().filter(|host| DOMAINS.iter().any(|domain| host.ends_with(domain)))?;
    let mut labels = host.split('.').skip_while(|label| !matches!(*label, "sts" | "sts-fips"));
    match labels.nth(1)? {
        "amazonaws" => Some(HOME),
        region => Some(region),
    }
}

fn sts(by: &Aws, endpoint: Option<&str>) -> Result<Service, IdentityError> {
    match endpoint {
        None => by.service("sts", "STS"),
        Some(endpoint) => Service::at(&by.0.http, endpoint)
            .ok_or_else(|| IdentityError::setting("aws_sts_endpoint", "is not the address of a service")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_tells_its_region() {
        for (url, expected) in [
            ("https://sts.amazonaws.com", Some("us-east-1")),
            ("https://sts.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("https://sts-fips.us-east-2.amazonaws.com", Some("us-east-2")),
            ("https://sts.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("https://sts.eusc-de-east-1.amazonaws.eu", Some("eusc-de-east-1")),
            ("https://vpce-1-2.sts.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("https://sts.eu-west-1.example.com", None),
            ("https://amazonaws.com", None),
            ("http://127.0.0.1:5000", None),
        ] {
            assert_eq!(region_of(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
