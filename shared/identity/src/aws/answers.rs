//! What STS answers.

use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_http::call::Answer;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{AWS, AccessKey};
use crate::{Granted, IdentityError};

/// Errors that pass, some of which come with a status of 400.
const BRIEF: [&str; 5] =
    ["InternalFailure", "IDPCommunicationError", "ServiceUnavailable", "Throttling", "ThrottlingException"];

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
    /// The key, with the life that is left to it at `now`.
    pub(super) fn granted(self, now: Timestamp) -> Granted<AccessKey> {
        let lasts = Duration::try_from(self.expiration.duration_since(now)).unwrap_or_default();
        let value = AccessKey {
            id: self.access_key_id,
            secret: self.secret_access_key,
            session: Some(self.session_token),
        };
        Granted { value, life: Life::granted(now, lasts) }
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
    let code = quick_xml::de::from_str::<ErrorResponse>(text).ok().map(|response| response.error.code);
    let Some(code) = code.filter(|code| answer.may_tell(code)) else {
        return Err(IdentityError::of_answer(AWS, answer));
    };
    let told = format!("HTTP {} {code}", status.as_u16());
    Err(if BRIEF.contains(&code.as_str()) || status.is_server_error() {
        IdentityError::Unavailable { who: AWS, told }
    } else {
        IdentityError::Denied { who: AWS, told }
    })
}
