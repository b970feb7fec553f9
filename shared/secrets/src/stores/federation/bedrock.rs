//! Amazon Bedrock: a short-term API key, which is an address that the role signs. It is made here; nobody is asked.
//!
//! As AWS's own generator makes it (`aws-bedrock-token-generator` for Python 1.1.0, `token_generator.py`); see
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-generate.html>. AWS allows twelve hours at most, and a
//! key ends with the session that signed it. One hour is asked for, since making another costs nothing. The role needs
//! `bedrock:CallWithBearerToken` beside what is called.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_identity::Granted;
use keyturn_identity::aws::{AccessKey, presign};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use super::{Ask, Service};
use crate::SecretError;
use crate::stores::answers;

/// What is signed: the same address for every region.
const URL: &str = "https://bedrock.amazonaws.com/?Action=CallWithBearerToken";
const PREFIX: &str = "bedrock-api-key-";
const LASTS: Duration = Duration::from_secs(60 * 60);

pub(super) struct Bedrock;

#[async_trait]
impl Service for Bedrock {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    async fn grant(&self, ask: &Ask<'_>) -> Result<Granted<SecretString>, SecretError> {
        let region = ask.ids.id("aws_region_name").or_else(|| ask.aws.region());
        let region = region.ok_or_else(|| ask.setting("AWS_REGION", "is not set"))?;
        let session = ask.aws.granted().await;
        let session = session.map_err(|error| answers::unidentified(ask.reference, &error))?;
        let now = ask.aws.now();
        let left = Duration::try_from(session.life.ends_at.duration_since(now)).unwrap_or_default();
        // A signature counts in whole seconds.
        let lasts = Duration::from_secs(left.min(LASTS).as_secs());
        if lasts.is_zero() {
            return Err(SecretError::unavailable(ask.reference, "the role's session is over"));
        }
        let value = key(&session.value, region, (now, lasts))
            .ok_or_else(|| SecretError::denied(ask.reference, "the access key cannot sign"))?;
        Ok(Granted { value, life: Life::granted(now, lasts) })
    }
}

/// The API key.
fn key(access: &AccessKey, region: &str, time: (Timestamp, Duration)) -> Option<SecretString> {
    let url = Url::parse(URL).ok()?;
    let signed = presign(&Method::POST, &url, access, ("bedrock", region), time)?;
    let address = signed.expose_secret().strip_prefix("https://")?;
    let address = SecretString::from(format!("{address}&Version=1"));
    let encoded = SecretString::from(STANDARD.encode(address.expose_secret()));
    Some(SecretString::from(format!("{PREFIX}{}", encoded.expose_secret())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_aws_own_generator_makes() {
        // aws-bedrock-token-generator 1.1.0 over botocore 1.44.8, with these keys at this time.
        for (session, region, seconds, expected) in [
            (None, "us-east-1", 43_200, include_str!("bedrock/long-term-key.txt")),
            (
                Some("IQoJb3JpZ2luX2VjEXAMPLE/+token=="),
                "eu-west-1",
                43_200,
                include_str!("bedrock/session.txt"),
            ),
            (
                Some("IQoJb3JpZ2luX2VjEXAMPLE/+token=="),
                "eu-west-1",
                3600,
                include_str!("bedrock/session-hour.txt"),
            ),
        ] {
            let access = AccessKey {
                id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
                secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
                session: session.map(SecretString::from),
            };
            let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
            let made = key(&access, region, (now, Duration::from_secs(seconds))).unwrap();
            assert_eq!(made.expose_secret(), expected.trim_end());
        }
    }
}
