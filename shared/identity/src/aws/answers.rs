//! What STS answers.

use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_http::call::Answer;
use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{AWS, AccessKey};
use crate::{Granted, IdentityError};

/// Names of errors that pass, whatever their status is: those that the AWS SDKs try again at, and STS's and IAM's own.
const BRIEF: [&str; 18] = [
    "BandwidthLimitExceeded",
    "ConcurrentModification",
    "EntityTemporarilyUnmodifiable",
    "IDPCommunicationError",
    "InternalFailure",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Whether a name is that of an error which passes at any AWS service: it is known, and so tells nothing of what was sent.
#[must_use]
pub fn is_brief(code: &str) -> bool {
    BRIEF.contains(&code)
}

/// Whether an error of an AWS service passes: asking later may work. Some of those come with a status of 400.
#[must_use]
pub fn passes(status: StatusCode, code: &str) -> bool {
    is_brief(code) || matches!(status.as_u16(), 408 | 425 | 429 | 500..)
}

/// Temporary credentials, as STS and container agents write them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Credentials {
    access_key_id: String,
    secret_access_key: SecretString,
    #[serde(alias = "Token")]
    session_token: SecretString,
    expiration: Timestamp,
}

impl Credentials {
    /// The key, with the life that is left to it at `now`; `who` gave it.
    pub(super) fn granted(
        self,
        who: &'static str,
        now: Timestamp,
    ) -> Result<Granted<AccessKey>, IdentityError> {
        let Some(lasts) =
            Duration::try_from(self.expiration.duration_since(now)).ok().filter(|lasts| !lasts.is_zero())
        else {
            let told = "its credentials have already expired, or our clock is wrong".to_owned();
            return Err(IdentityError::Unavailable { who, told });
        };
        let value = AccessKey {
            id: self.access_key_id,
            secret: self.secret_access_key,
            session: Some(self.session_token),
        };
        Ok(Granted { value, life: Life::granted(now, lasts) })
    }
}

#[derive(Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Error")]
    error: ErrorCode,
}

#[derive(Deserialize)]
struct ErrorCode {
    #[serde(rename = "Code")]
    code: String,
}

/// What a success of the query protocol says, or what its error means.
pub(super) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, IdentityError> {
    let text = std::str::from_utf8(answer.bytes()).unwrap_or_default();
    let status = answer.status();
    if status.is_success() {
        // What the parser says may repeat what is there.
        return quick_xml::de::from_str(text).map_err(|_| IdentityError::Unavailable {
            who: AWS,
            told: format!("HTTP {}, its body is not as documented", status.as_u16()),
        });
    }
    let code = quick_xml::de::from_str::<ErrorResponse>(text).map(|response| response.error.code);
    let code = code.unwrap_or_default();
    // What it means is told by the whole name, whether or not that may be repeated.
    let told = if answer.may_tell(&code) {
        format!("HTTP {} {code}", status.as_u16())
    } else {
        format!("HTTP {}", status.as_u16())
    };
    Err(if passes(status, &code) {
        IdentityError::Unavailable { who: AWS, told }
    } else {
        IdentityError::Denied { who: AWS, told }
    })
}
