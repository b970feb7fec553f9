//! What the answers of HTTP services mean, for the stores that speak to one without an SDK.

use keyturn_http::call::{Answer, Call, CallError};
use keyturn_identity::IdentityError;

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
