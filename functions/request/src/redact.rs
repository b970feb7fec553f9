//! Takes our credentials out of what an upstream says of them.
//!
//! Error bodies pass through in the upstream's own words, and an upstream, or a proxy in front of it, may quote the
//! header that it did not like.

use bytes::{Bytes, BytesMut};
use keyturn_providers::{Credential, Failure};
use secrecy::{ExposeSecret, SecretString};

use crate::error::GatewayError;

/// What stands in the place of a credential.
const REDACTED: &[u8] = b"[redacted]";

/// The shortest value that is looked for: a placeholder such as `none` is part of ordinary words.
const SHORTEST: usize = 8;

/// The values to take out of errors.
pub(crate) struct Redactor(Vec<SecretString>);

impl Redactor {
    pub(crate) fn new(credential: &Credential) -> Self {
        Self(credential.values().filter(|value| value.expose_secret().len() >= SHORTEST).cloned().collect())
    }

    /// The upstream's failure as the client may see it.
    pub(crate) fn failure(&self, failure: Failure) -> GatewayError {
        let body =
            self.0.iter().fold(failure.body.clone(), |body, value| without(body, value.expose_secret()));
        GatewayError::Upstream(Box::new(Failure { body, ..failure }))
    }
}

fn without(body: Bytes, value: &str) -> Bytes {
    let finder = memchr::memmem::Finder::new(value);
    let mut clean = BytesMut::new();
    let mut rest = &body[..];
    while let Some(at) = finder.find(rest) {
        clean.extend_from_slice(&rest[..at]);
        clean.extend_from_slice(REDACTED);
        rest = &rest[at + value.len()..];
    }
    if clean.is_empty() {
        return body;
    }
    clean.extend_from_slice(rest);
    clean.freeze()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use keyturn_providers::Refusal;

    use super::*;

    fn redacted(values: &[&str], body: &'static str) -> String {
        let fields = ["api_key", "other"].into_iter().zip(values);
        let credential =
            fields.fold(Credential::new(), |all, (name, value)| all.with(name, SecretString::from(*value)));
        let failure = Failure {
            status: StatusCode::BAD_REQUEST,
            headers: HeaderMap::new(),
            body: body.into(),
            refusal: Refusal::Request,
        };
        let GatewayError::Upstream(failure) = Redactor::new(&credential).failure(failure) else {
            panic!("a failure")
        };
        String::from_utf8(failure.body.to_vec()).unwrap()
    }

    #[test]
    fn every_occurrence_of_every_value_goes() {
        let body = "sk-canary-1 and Bearer sk-canary-2, again sk-canary-1";
        assert_eq!(
            redacted(&["sk-canary-1", "sk-canary-2"], body),
            "[redacted] and Bearer [redacted], again [redacted]"
        );
    }

    #[test]
    fn other_words_stay() {
        assert_eq!(redacted(&["none", "sk-canary-1"], "none of it"), "none of it");
    }
}
