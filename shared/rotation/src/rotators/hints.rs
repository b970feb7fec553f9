//! Recognises a credential by what a service shows of it: `sk-abc...def`, `sk-ab****ef`, or the SHA-256 of the whole.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What stands for the part of a credential that is not shown.
const CUTS: [&str; 4] = ["..", "*", "…", "•"];

/// Whether a hint may be this credential's: true when in doubt. A hint that is missing or of an unknown form is
/// everybody's.
pub(super) fn may_be(hint: Option<&str>, credential: &SecretString) -> bool {
    let value = credential.expose_secret();
    let Some(hint) = hint.map(str::trim).filter(|hint| !hint.is_empty()) else { return true };
    if hint.len() == 64 && hint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return hint.eq_ignore_ascii_case(&sha256(credential));
    }
    // Somebody's words, not a part of a key.
    if hint.contains(char::is_whitespace) {
        return true;
    }
    let start = CUTS.iter().filter_map(|cut| hint.find(cut)).min();
    let end = CUTS.iter().filter_map(|cut| hint.rfind(cut).map(|at| at + cut.len())).max();
    match (start, end) {
        (Some(start), Some(end)) => {
            let (head, tail) = (&hint[..start], &hint[end..]);
            head.len() + tail.len() <= value.len() && value.starts_with(head) && value.ends_with(tail)
        }
        _ => true,
    }
}

/// The SHA-256 of a credential in hexadecimal digits.
pub(super) fn sha256(credential: &SecretString) -> String {
    hex::encode(Sha256::digest(credential.expose_secret().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_fits_its_credential_and_no_other() {
        let one = SecretString::from("sk-ant-api03-R2Dxyz0123456789_-igAA");
        let other = SecretString::from("sk-ant-api03-R3Dxyz0123456789_-igAA");
        let hash = sha256(&one);
        for hint in ["sk-ant-api03-R2D...igAA", "sk-ant-api03-R2D****igAA", "sk-ant-api03-R2D…igAA", &hash]
        {
            assert!(may_be(Some(hint), &one), "{hint}");
            assert!(!may_be(Some(hint), &other), "{hint}");
        }
        assert!(may_be(Some("sk-...igAA"), &one) && may_be(Some("sk-...igAA"), &other));
        assert!(!may_be(Some("sk-...igAB"), &one));
        // Both ends of a hint cannot be the same characters of a short value.
        assert!(!may_be(Some("sk-a...-abc"), &"sk-abc".into()));
    }

    #[test]
    fn a_hint_that_tells_nothing_fits_all() {
        for hint in
            [None, Some(""), Some(" "), Some("Production API key"), Some("prod... key"), Some("production")]
        {
            assert!(may_be(hint, &"sk-1".into()), "{hint:?}");
        }
    }
}
