//! The values of keys: what they look like and where they come from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::hash::KeyHash;
use crate::store::StoreFailure;

use super::ManageError;

/// What every key starts with.
const PREFIX: &str = "sk-";
/// The fewest characters of a key that the caller brings, as LiteLLM has it.
const MIN_KEY: usize = 16;
/// The most characters of such a key; more would not fit into a header that every proxy lets pass.
const MAX_KEY: usize = 1_024;
/// Random bytes in a generated key: LiteLLM's `secrets.token_urlsafe(16)`.
const RANDOM_BYTES: usize = 16;
/// What a generated master key starts with.
const MASTER_PREFIX: &str = "sk-master-";
/// Random bytes in it.
const MASTER_BYTES: usize = 32;
/// What derived values are for, so that no other use of the same secret makes the same bytes.
const DERIVATION: &[u8] = b"keyturn regenerated key 1\0";

/// Whether a text is a key's value, and not a hash.
pub(crate) fn is_value(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Checks a value that the caller brings.
pub(crate) fn check(field: &'static str, key: &SecretString) -> Result<(), ManageError> {
    let key = key.expose_secret();
    let invalid = |reason| Err(ManageError::invalid(field, reason));
    if !is_value(key) {
        return invalid("must start with sk-");
    }
    if !(MIN_KEY..=MAX_KEY).contains(&key.len()) {
        return invalid("must have from 16 to 1,024 characters");
    }
    // Anything else cannot be sent in a header.
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid("must consist of visible ASCII characters");
    }
    Ok(())
}

/// A new value: `sk-` and 22 URL-safe characters that hold 128 random bits.
pub(crate) fn generate() -> Result<SecretString, ManageError> {
    Ok(value_of(random()?))
}

/// A new value for the master key: `sk-master-` and 43 URL-safe characters that hold 256 random bits. It can be told
/// from one that a person made.
pub(crate) fn generate_master() -> Result<SecretString, ManageError> {
    let mut bytes = [0; MASTER_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| StoreFailure::new(format!("no random bytes: {error}")))?;
    Ok(SecretString::from(format!("{MASTER_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// Whether a value looks like one of [`generate_master`].
pub(crate) fn is_generated_master(value: &SecretString) -> bool {
    value
        .expose_secret()
        .strip_prefix(MASTER_PREFIX)
        .is_some_and(|random| URL_SAFE_NO_PAD.decode(random).is_ok_and(|bytes| bytes.len() == MASTER_BYTES))
}

/// Random bytes that make derived values unguessable for whoever has the secret but not the row.
pub(crate) fn salt() -> Result<String, ManageError> {
    Ok(hex::encode(random()?))
}

/// The value that a regeneration makes of its idempotency key, so that a repeat can answer with the same one
/// although no value is stored. It takes three things to compute it: the secret, the salt in the key's row and the
/// idempotency key.
pub(crate) fn derive(
    secret: &SecretString,
    id: &KeyHash,
    salt: &str,
    idempotency_key: &KeyHash,
) -> Result<SecretString, ManageError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .map_err(|error| StoreFailure::from_error(&error))?;
    // Every part but the last has a fixed length: no two inputs make the same bytes.
    for part in
        [DERIVATION, id.to_string().as_bytes(), idempotency_key.to_string().as_bytes(), salt.as_bytes()]
    {
        mac.update(part);
    }
    let bytes = mac.finalize().into_bytes();
    let mut value = [0; RANDOM_BYTES];
    value.copy_from_slice(&bytes[..RANDOM_BYTES]);
    Ok(value_of(value))
}

/// How a value is shown to people: `sk-...` and its last four characters.
pub(crate) fn shown(key: &SecretString) -> String {
    let key = key.expose_secret();
    let start = key.char_indices().nth_back(3).map_or(0, |(at, _)| at);
    format!("sk-...{}", &key[start..])
}

fn random() -> Result<[u8; RANDOM_BYTES], ManageError> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| StoreFailure::new(format!("no random bytes: {error}")))?;
    Ok(bytes)
}

fn value_of(bytes: [u8; RANDOM_BYTES]) -> SecretString {
    SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(value: &str) -> bool {
        matches!(check("key", &SecretString::from(value)), Err(ManageError::Invalid { field: "key", .. }))
    }

    #[test]
    fn a_generated_value_has_litellms_form_and_passes_its_own_check() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.expose_secret(), two.expose_secret());
        let random = one.expose_secret().strip_prefix("sk-").unwrap();
        assert_eq!(random.len(), 22);
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(shown(&one), format!("sk-...{}", &random[18..]));
        assert!(!refused(one.expose_secret()));
    }

    #[test]
    fn a_generated_master_key_can_be_told_from_others() {
        let master = generate_master().unwrap();
        assert_eq!(master.expose_secret().len(), 53);
        assert!(!refused(master.expose_secret()) && is_generated_master(&master));
        for other in ["sk-master-key", "sk-1234", generate().unwrap().expose_secret()] {
            assert!(!is_generated_master(&SecretString::from(other)), "{other}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_a_key_is_refused() {
        for value in [
            "",
            "sk-",
            "sk-0123456789ab",
            "pk-0123456789abcdef",
            "sk-0123456789abc\n",
            "sk-0123456789 abc",
            "sk-éééééééééé",
            &format!("sk-{}", "x".repeat(1_022)),
        ] {
            assert!(refused(value), "{value}");
        }
        assert!(!refused("sk-0123456789abc"));
    }

    #[test]
    fn a_derived_value_depends_on_everything_that_it_is_made_of() {
        let secret = SecretString::from("sk-master");
        let other = SecretString::from("sk-other");
        let hash = |text: &str| KeyHash::of(&SecretString::from(text));
        let derive = |secret, id, salt, key| {
            derive(secret, &hash(id), salt, &hash(key)).unwrap().expose_secret().to_owned()
        };
        let value = derive(&secret, "id", "salt", "key");
        assert_eq!(value, derive(&secret, "id", "salt", "key"));
        assert_eq!(value.len(), 25);
        assert!(!refused(&value));
        for different in [
            derive(&other, "id", "salt", "key"),
            derive(&secret, "id2", "salt", "key"),
            derive(&secret, "id", "salt2", "key"),
            derive(&secret, "id", "salt", "key2"),
        ] {
            assert_ne!(value, different);
        }
        assert_ne!(salt().unwrap(), salt().unwrap());
    }
}
