//! What the answers of HTTP services mean, for the stores that speak to one without an SDK.

use keyturn_http::call::{Answer, Call, CallError};
use keyturn_identity::IdentityError;
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

/// What an answer that is no success means, by its status: a service with other customs says so itself. A page for
/// people that says that something is not there is some proxy's, and says nothing of the secret.
pub(super) fn refusal(reference: &str, answer: &Answer) -> SecretError {
    let told = answer.told();
    match answer.status().as_u16() {
        404 | 410 if is_page(answer) => SecretError::unavailable(reference, &told),
        404 | 410 => SecretError::not_found(reference, &told),
        409 | 412 => SecretError::conflict(reference, &told),
        408 | 425 | 429 | 500.. => SecretError::unavailable(reference, &told),
        _ => SecretError::denied(reference, &told),
    }
}

/// Whether an answer is a page for people.
fn is_page(answer: &Answer) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/html")
}

/// The text that an answer is, where the whole of it is a secret: not a proxy's page, not empty.
pub(super) fn text(reference: &str, answer: &Answer) -> Result<SecretString, SecretError> {
    if is_page(answer) {
        return Err(SecretError::malformed(reference, "the answer is a page for people, and no secret"));
    }
    match std::str::from_utf8(answer.bytes()) {
        Ok("") => Err(SecretError::malformed(reference, "empty")),
        Ok(text) => Ok(text.into()),
        Err(_) => Err(SecretError::malformed(reference, "not UTF-8")),
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

#[cfg(test)]
mod tests {
    use keyturn_http::call::address;
    use keyturn_tests::fake::{self, Fake};
    use reqwest::Method;

    use super::*;

    #[tokio::test]
    async fn a_page_that_says_that_nothing_is_there_is_a_proxy_s() {
        for (kind, is_absent) in [
            ("text/html", false),
            ("Text/HTML; charset=utf-8", false),
            ("application/json", true),
            ("text/plain", true),
        ] {
            for status in [404, 410] {
                let server = Fake::start(move |_| fake::Answer(status, kind, "{}".into())).await;
                let http = keyturn_http::client().unwrap();
                let call = Call::new(&http, Method::GET, address(&server.url()).unwrap());
                let error = refusal("a:b", &answer("a:b", call).await.unwrap());
                assert_eq!(matches!(error, SecretError::NotFound { .. }), is_absent, "{kind}: {error:?}");
                assert_eq!(matches!(error, SecretError::Unavailable { .. }), !is_absent, "{kind}: {error:?}");
            }
        }
    }
}
