//! Where a key stands in a request, in LiteLLM's order, and whether it is the master key.

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use keyturn_keys::KeyHash;
use secrecy::{ExposeSecret, SecretString};

/// The header that LiteLLM looks at before `Authorization`; its `Bearer` is optional.
const LITELLM_HEADER: &str = "x-litellm-api-key";

/// The headers that hold a bare key, in LiteLLM's order: Azure, Anthropic, Google, API Management.
const BARE_HEADERS: [&str; 4] = ["api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"];

/// What opens the gateway besides virtual keys.
#[derive(Clone, Default)]
pub struct Door {
    master_key: Option<SecretString>,
    master_hash: Option<KeyHash>,
    key_header: Option<HeaderName>,
}

/// Why a request shows no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// No header holds a key.
    #[error("Authentication Error, No api key passed in.")]
    NoKey,
    /// `Authorization` without a usable `Bearer`.
    #[error("Authentication Error, Malformed API Key passed in. Ensure Key has `Bearer ` prefix.")]
    MalformedBearer,
    /// The token does not start with `sk-`.
    #[error("LiteLLM Virtual Key expected. Received={masked}, expected to start with 'sk-'.")]
    NotAVirtualKey {
        /// Its first and last four characters.
        masked: String,
    },
}

/// Whose request it is.
pub enum Presented {
    /// The master key, as it is configured, and its hash.
    Master(KeyHash),
    /// A key that the key store has to know.
    Virtual(KeyHash),
}

impl Door {
    /// A door for virtual keys, and for the master key if there is one. `key_header` is
    /// `general_settings.litellm_key_header_name`: the only header looked at when it is set.
    #[must_use]
    pub fn new(master_key: Option<SecretString>, key_header: Option<HeaderName>) -> Self {
        let master_hash = master_key.as_ref().map(KeyHash::of);
        Self { master_key, master_hash, key_header }
    }

    /// The master key, as it is configured.
    #[must_use]
    pub fn master_key(&self) -> Option<&SecretString> {
        self.master_key.as_ref()
    }

    /// Reads the key from the headers.
    ///
    /// # Errors
    ///
    /// [`KeyFault`], a 401 with LiteLLM's message.
    pub fn presented(&self, headers: &HeaderMap) -> Result<Presented, KeyFault> {
        let key = self.key(headers)?;
        let hash = KeyHash::of(&key);
        if self.is_master(&hash) {
            return Ok(Presented::Master(hash));
        }
        if !key.expose_secret().starts_with("sk-") {
            return Err(KeyFault::NotAVirtualKey { masked: masked(key.expose_secret()) });
        }
        Ok(Presented::Virtual(hash))
    }

    /// Whether this is the hash of the master key, as it is configured. Hashes are compared in a time that says
    /// nothing about them.
    #[must_use]
    pub fn is_master(&self, hash: &KeyHash) -> bool {
        self.master_hash.as_ref() == Some(hash)
    }

    fn key(&self, headers: &HeaderMap) -> Result<SecretString, KeyFault> {
        if let Some(name) = &self.key_header {
            return headers
                .get(name)
                .and_then(|value| optional_bearer(value.to_str().ok()?))
                .ok_or(KeyFault::NoKey);
        }
        if let Some(value) = headers.get(LITELLM_HEADER) {
            return value.to_str().ok().and_then(optional_bearer).ok_or(KeyFault::NoKey);
        }
        if let Some(value) = headers.get(AUTHORIZATION) {
            return value.to_str().ok().and_then(bearer).ok_or(KeyFault::MalformedBearer);
        }
        BARE_HEADERS
            .iter()
            .find_map(|name| optional_bearer(headers.get(*name)?.to_str().ok()?))
            .ok_or(KeyFault::NoKey)
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<SecretString> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| SecretString::from(token))
}

fn optional_bearer(value: &str) -> Option<SecretString> {
    let value = value.trim();
    bearer(value).or_else(|| {
        (!value.is_empty() && !value.eq_ignore_ascii_case("bearer")).then(|| SecretString::from(value))
    })
}

/// The first and last four characters, as LiteLLM shows a token that is none; nothing of a short one.
fn masked(token: &str) -> String {
    let characters: Vec<char> = token.chars().collect();
    if characters.len() < 16 {
        return "****".to_owned();
    }
    let (first, last) = (&characters[..4], &characters[characters.len() - 4..]);
    format!("{}****{}", first.iter().collect::<String>(), last.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Door {
        Door::new(Some(SecretString::from("sk-master")), None)
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn hash(key: &str) -> KeyHash {
        KeyHash::of(&SecretString::from(key))
    }

    #[test]
    fn takes_the_first_header_in_litellms_order() {
        let order = [
            ("x-litellm-api-key", "sk-1"),
            ("authorization", "Bearer sk-2"),
            ("api-key", "sk-3"),
            ("x-api-key", "sk-4"),
            ("x-goog-api-key", "sk-5"),
            ("ocp-apim-subscription-key", "sk-6"),
        ];
        for first in 0..order.len() {
            let Presented::Virtual(found) = door().presented(&headers(&order[first..])).unwrap() else {
                panic!("not the master key");
            };
            assert!(found == hash(&format!("sk-{}", first + 1)), "header {first}");
        }
    }

    #[test]
    fn knows_the_master_key_in_any_header() {
        for pair in [
            ("authorization", "bearer sk-master"),
            ("x-api-key", "sk-master"),
            ("x-litellm-api-key", "Bearer sk-master"),
        ] {
            assert!(matches!(door().presented(&headers(&[pair])), Ok(Presented::Master(_))), "{pair:?}");
        }
    }

    #[test]
    fn a_configured_header_is_the_only_one() {
        let door =
            Door::new(Some(SecretString::from("sk-master")), Some(HeaderName::from_static("x-team-key")));
        assert!(matches!(
            door.presented(&headers(&[("authorization", "Bearer sk-master")])),
            Err(KeyFault::NoKey)
        ));
        assert!(matches!(
            door.presented(&headers(&[("x-team-key", "Bearer sk-master")])),
            Ok(Presented::Master(_))
        ));
    }

    #[test]
    fn each_missing_key_has_its_message() {
        assert!(matches!(door().presented(&headers(&[])), Err(KeyFault::NoKey)));
        for value in ["", "Bearer", "Bearer ", "sk-1234", "Basic abc"] {
            let refused = door().presented(&headers(&[("authorization", value)]));
            assert!(matches!(refused, Err(KeyFault::MalformedBearer)), "{value:?}");
        }
    }

    #[test]
    fn a_foreign_token_is_masked() {
        let refused = door().presented(&headers(&[("authorization", "Bearer abcdefghijklmnopqrstuvwxyz")]));
        assert!(matches!(refused, Err(KeyFault::NotAVirtualKey { masked }) if masked == "abcd****wxyz"));
        let refused = door().presented(&headers(&[("authorization", "Bearer short")]));
        assert!(matches!(refused, Err(KeyFault::NotAVirtualKey { masked }) if masked == "****"));
    }
}
