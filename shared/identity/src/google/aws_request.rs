//! A request to AWS that is signed and not sent: Google sends it, and AWS answers whose signature it is.
//!
//! It is `GetCallerIdentity` of the region's STS, with the provider in the pool among what is signed, so that it serves
//! nobody else; serialized as the token service wants it, percent-encoded JSON.
//!
//! <https://cloud.google.com/iam/docs/workload-identity-federation-with-other-clouds#aws> (the REST example), and
//! `google/auth/aws.py` of `google-auth`.

use std::fmt::Write as _;

use keyturn_http::call::Call;
use reqwest::{Method, Url};
use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::IdentityError;
use crate::aws::{Aws, sign};

/// Where the configuration does not say: the region's STS.
const VERIFICATION: &str = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";
/// The header with the provider.
const TARGET: &str = "x-goog-cloud-target-resource";
const URL: &str = "regional_cred_verification_url";

#[derive(Serialize)]
struct Request<'a> {
    headers: Vec<Header<'a>>,
    method: &'static str,
    url: &'a str,
}

#[derive(Serialize)]
struct Header<'a> {
    key: &'a str,
    value: &'a str,
}

/// The serialized request; `audience` is the provider.
pub(super) async fn signed(
    http: &reqwest::Client,
    aws: &Aws,
    verification: Option<&str>,
    audience: &str,
) -> Result<SecretString, IdentityError> {
    let region = aws.region().ok_or_else(|| IdentityError::setting("AWS_REGION", "is not set"))?;
    let text = verification.unwrap_or(VERIFICATION).replace("{region}", region);
    let url = Url::parse(&text).ok().filter(is_sts);
    let url = url.ok_or_else(|| IdentityError::setting(URL, "is not an https address of AWS STS"))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let key = aws.access_key().await?;
    let call = Call::new(http, Method::POST, url).header(TARGET, audience);
    let call = sign(call, &key, "sts", region, aws.now());
    let (_, _, headers, _) = call.parts();
    let mut pairs = vec![Header { key: "host", value: &host }];
    for (name, value) in headers {
        let value = value.to_str().map_err(|_| unsigned())?;
        pairs.push(Header {
            key: if name == "authorization" { "Authorization" } else { name.as_str() },
            value,
        });
    }
    if !pairs.iter().any(|header| header.key == "Authorization") {
        return Err(unsigned());
    }
    let request = Request { headers: pairs, method: "POST", url: &text };
    let json = Zeroizing::new(serde_json::to_vec(&request).map_err(|_| unsigned())?);
    Ok(quoted(&json))
}

fn unsigned() -> IdentityError {
    IdentityError::setting("AWS_SECRET_ACCESS_KEY", "cannot sign a request")
}

/// The proof is worth something to whoever gets it, so it names AWS and nobody else.
fn is_sts(url: &Url) -> bool {
    const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"];
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https"
        && url.port().is_none()
        && host.starts_with("sts.")
        && DOMAINS.iter().any(|domain| host.ends_with(domain))
}

/// Percent-encoded as by Python's `urllib.parse.quote`, after which the service was modelled.
fn quoted(json: &[u8]) -> SecretString {
    let mut text = Zeroizing::new(String::with_capacity(json.len() * 2));
    for &byte in json {
        if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            _ = write!(text, "%{byte:02X}");
        }
    }
    SecretString::from(std::mem::take(&mut *text))
}
