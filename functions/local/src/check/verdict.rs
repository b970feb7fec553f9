//! What came of looking at a secret.

use anstyle::Style;
use http::StatusCode;
use keyturn_providers::{Failure, Refusal};
use keyturn_secrets::SecretError;

use crate::look::{DIM, GREEN, RED, YELLOW};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is there, and its provider takes it, where one was asked.
    Ok,
    /// Its provider takes it, but not for the question that was asked: it is valid and restricted.
    Restricted,
    /// It is there, and its provider has no such question: nothing is known of it.
    Unproved,
    /// Nothing was looked at: the deployment answers by itself.
    Skipped,
    /// Its provider refuses it.
    Refused,
    /// It is not in its store.
    Missing,
    /// Its store does not let us read it, or its provider lets nobody in from here.
    Denied,
    /// Its store, or its provider, cannot answer now.
    Unavailable,
    /// It cannot be read or sent as it is.
    Malformed,
    /// Its provider cannot be reached.
    Unreachable,
}

impl Verdict {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Restricted => "restricted",
            Self::Unproved => "unproved",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether requests can be expected to work.
    pub(super) fn is_usable(self) -> bool {
        matches!(self, Self::Ok | Self::Restricted | Self::Unproved | Self::Skipped)
    }

    pub(super) fn style(self) -> Style {
        match self {
            Self::Ok => GREEN,
            Self::Restricted | Self::Unproved => YELLOW,
            Self::Skipped => DIM,
            _ => RED.bold(),
        }
    }

    /// Of a store's error.
    pub(super) fn of(error: &SecretError) -> Self {
        match error {
            SecretError::NotFound { .. } => Self::Missing,
            SecretError::Denied { .. } => Self::Denied,
            SecretError::Unavailable { .. } | SecretError::Conflict { .. } => Self::Unavailable,
            SecretError::Malformed { .. } | SecretError::UnknownScheme { .. } => Self::Malformed,
        }
    }

    /// Of a provider's answer to its cheap question, in words that are ours. Whether the credential is refused is for
    /// the provider to say, as for a request.
    pub(super) fn of_answer(status: StatusCode, failure: &Failure) -> (Self, String) {
        let code = status.as_u16();
        match (failure.refusal, code) {
            (Refusal::Credential, _) => (Self::Refused, format!("the provider refuses it (HTTP {code})")),
            // OpenAI says so of a key that may not list models, and may well complete.
            (_, 403) if lacks_scopes(&failure.body) => {
                (Self::Restricted, "valid, but it has not all scopes (HTTP 403)".to_owned())
            }
            (_, 403) => (Self::Denied, "the provider lets it not in (HTTP 403)".to_owned()),
            (_, 404 | 405 | 501) => {
                (Self::Unproved, format!("the provider has no call to prove it by (HTTP {code})"))
            }
            (_, 429) => (Self::Unavailable, "the provider has had too many requests (HTTP 429)".to_owned()),
            _ => (Self::Unavailable, format!("the provider answers HTTP {code}")),
        }
    }
}

fn lacks_scopes(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["error"]["message"].as_str().is_some_and(|message| message.contains("Missing scopes"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use keyturn_providers::{Call, Facts, Surface, Target};

    use super::*;

    /// What `openai/` makes of an answer.
    fn of(status: u16, body: &str) -> (Verdict, String) {
        let provider = keyturn_providers::find("openai").unwrap();
        let (facts, target) = (Facts::default(), Target::default());
        let call = Call {
            surface: Surface::ChatCompletions,
            facts: &facts,
            body: &Bytes::new(),
            headers: &HeaderMap::new(),
            target: &target,
            now: 0,
        };
        let (head, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
        Verdict::of_answer(head.status, &provider.failure(&call, &head, body.as_bytes()))
    }

    #[test]
    fn an_answer_is_judged_as_a_requests_is() {
        let scopes =
            r#"{"error":{"message":"You have insufficient permissions. Missing scopes: api.model.read."}}"#;
        let country = r#"{"error":{"code":"unsupported_country_region_territory","message":"CANARY"}}"#;
        let revoked = r#"{"error":{"code":"account_deactivated","message":"CANARY"}}"#;
        for (status, body, verdict) in [
            (401, "CANARY", Verdict::Refused),
            (403, revoked, Verdict::Refused),
            (403, scopes, Verdict::Restricted),
            (403, country, Verdict::Denied),
            (403, "<html>CANARY", Verdict::Denied),
            (404, "", Verdict::Unproved),
            (429, country, Verdict::Unavailable),
            (500, "CANARY", Verdict::Unavailable),
            (302, "", Verdict::Unavailable),
        ] {
            let (found, why) = of(status, body);
            assert_eq!(found, verdict, "{status} {body}");
            assert!(why.contains(&status.to_string()) && !why.contains("CANARY"), "{why}");
        }
    }

    #[test]
    fn each_error_of_a_store_has_its_verdict() {
        for (error, verdict) in [
            (SecretError::not_found("env:A", ""), "missing"),
            (SecretError::denied("env:A", ""), "denied"),
            (SecretError::unavailable("env:A", ""), "unavailable"),
            (SecretError::malformed("env:A", ""), "malformed"),
        ] {
            let found = Verdict::of(&error);
            assert_eq!(found.name(), verdict);
            assert!(!found.is_usable());
        }
    }
}
