//! What token endpoints answer.

use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_http::call::Answer;
use secrecy::SecretString;
use serde::Deserialize;

use super::ENTRA;
use crate::{Granted, IdentityError};

/// What passes by itself, though its status is that of a mistake: Entra is busy or out of service
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
const BRIEF: [u64; 7] = [50196, 90006, 90012, 90024, 90033, 90055, 90090];
/// The names of errors that pass by themselves.
const BRIEF_NAMES: [&str; 2] = ["temporarily_unavailable", "server_error"];

#[derive(Deserialize)]
struct Token {
    access_token: SecretString,
    /// For how many seconds it is good.
    expires_in: Option<Seconds>,
    /// Until when; App Service says only this.
    expires_on: Option<Seconds>,
}

/// Seconds: Entra writes a number, the managed identities' endpoints a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(i64),
    Text(String),
}

impl Seconds {
    fn read(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// The token of a success.
pub(super) fn granted(
    who: &'static str,
    answer: &Answer,
    now: Timestamp,
) -> Result<Granted<SecretString>, IdentityError> {
    let token: Token = answer.read().map_err(|error| IdentityError::of_call(who, &error))?;
    let lasts = token.expires_in.and_then(|span| span.read()).or_else(|| {
        let until = token.expires_on?.read()?;
        Some(until.saturating_sub(now.as_second()))
    });
    let lasts = lasts.ok_or_else(|| IdentityError::Unavailable {
        who,
        told: "its answer does not say how long the token is good for".to_owned(),
    })?;
    let lasts = Duration::from_secs(u64::try_from(lasts).unwrap_or_default());
    Ok(Granted { value: token.access_token, life: Life::granted(now, lasts) })
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Option<String>,
    /// The numbers of `AADSTS…`.
    #[serde(default)]
    error_codes: Vec<u64>,
}

/// What a refusal of Entra's means. Its description is not told: it names ids, and may repeat what was sent.
pub(super) fn refused(answer: &Answer) -> IdentityError {
    let refusal: Refusal = answer.read().unwrap_or_default();
    let mut told = answer.told();
    if let Some(code) = refusal.error_codes.first() {
        let code = format!("AADSTS{code}");
        if answer.may_tell(&code) {
            told = format!("{told} {code}");
        }
    }
    let name = refusal.error.unwrap_or_default();
    let passes = refusal.error_codes.iter().any(|code| BRIEF.contains(code))
        || BRIEF_NAMES.contains(&name.as_str())
        || matches!(answer.status().as_u16(), 408 | 425 | 429 | 500..);
    if passes {
        IdentityError::Unavailable { who: ENTRA, told }
    } else {
        IdentityError::Denied { who: ENTRA, told }
    }
}
