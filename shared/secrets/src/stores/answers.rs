//! What the answers of HTTP services mean, for the stores that speak to one without an SDK.

use std::net::Ipv4Addr;

use keyturn_http::call::{Answer, Call, CallError};
use keyturn_identity::IdentityError;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;

use crate::{Cause, SecretError};

/// Makes a call. The answer may be any, a refusal too.
pub(super) async fn answer(reference: &str, call: Call<'_>) -> Result<Answer, SecretError> {
    call.answer().await.map_err(|error| {
        let (reference, cause) = (reference.to_owned(), Cause::of(&error));
        match error {
            CallError::NoAnswer(_) => SecretError::Unavailable { reference, cause },
            CallError::Unfit(_) => SecretError::Denied { reference, cause },
            CallError::Malformed(_) => SecretError::Malformed { reference, cause },
        }
    })
}

/// What an answer that is no success means, by its status alone: a service with other customs says so itself.
pub(super) fn refusal(reference: &str, answer: &Answer) -> SecretError {
    let told = answer.told();
    match answer.status().as_u16() {
        404 | 410 => SecretError::not_found(reference, &told),
        409 | 412 => SecretError::conflict(reference, &told),
        408 | 425 | 429 | 500.. => SecretError::unavailable(reference, &told),
        _ => SecretError::denied(reference, &told),
    }
}

/// The text that an answer is, where the whole of it is a secret: not a proxy's page, not empty.
pub(super) fn text(reference: &str, answer: &Answer) -> Result<SecretString, SecretError> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("text/html") {
        return Err(SecretError::malformed(reference, "the answer is a page for people, and no secret"));
    }
    match std::str::from_utf8(answer.bytes()) {
        Ok("") => Err(SecretError::malformed(reference, "empty")),
        Ok(text) => Ok(text.into()),
        Err(_) => Err(SecretError::malformed(reference, "not UTF-8")),
    }
}

/// Whether an address is this machine's: what is sent there is on no network.
pub(super) fn is_loopback(address: &Url) -> bool {
    match address.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback()),
        None => false,
    }
}

/// What it means that we cannot say who we are.
pub(super) fn unidentified(reference: &str, error: &IdentityError) -> SecretError {
    let (reference, cause) = (reference.to_owned(), Cause::of(error));
    match error {
        IdentityError::Setting { .. } | IdentityError::Denied { .. } => {
            SecretError::Denied { reference, cause }
        }
        IdentityError::Unavailable { .. } => SecretError::Unavailable { reference, cause },
    }
}
