//! Cloud KMS: <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/decrypt>.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{bytes, crc32c, error};
use crate::fake::{Answer, Asked};

/// The one key.
pub const KEY: &str = "projects/project-1/locations/global/keyRings/ring/cryptoKeys/key";

/// What was encrypted, by ciphertext.
#[derive(Debug, Default)]
pub struct Keys {
    encrypted: BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    /// The next so many answers have a wrong checksum.
    pub damaged: u32,
    /// The key is disabled.
    pub disabled: bool,
    /// How often something was to be decrypted.
    pub asked: u32,
}

impl Keys {
    /// Encrypts a plaintext, with data that it is bound to.
    pub fn encrypt(&mut self, plaintext: &[u8], along: &[u8]) -> Vec<u8> {
        let number = u8::try_from(self.encrypted.len()).unwrap_or_default();
        let ciphertext = [b"\n$\x00D\xac\xb4/\x8e'\\", &[number][..]].concat();
        self.encrypted.insert(ciphertext.clone(), (plaintext.to_vec(), along.to_vec()));
        ciphertext
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Answer {
        self.asked += 1;
        if asked.method != http::Method::POST || asked.path != format!("/v1/{KEY}:decrypt") {
            return error(404, "NOT_FOUND", "CryptoKey not found.");
        }
        if self.disabled {
            return error(
                400,
                "FAILED_PRECONDITION",
                "CryptoKeyVersion is not enabled, current state is: DISABLED.",
            );
        }
        let body = asked.json();
        if body["ciphertextCrc32c"].is_null() {
            return error(400, "INVALID_ARGUMENT", "this server wants checksums");
        }
        let along = match &body["additionalAuthenticatedData"] {
            serde_json::Value::Null => Ok(Vec::new()),
            _ => bytes(&body, "additionalAuthenticatedData", "additionalAuthenticatedDataCrc32c"),
        };
        let (ciphertext, along) = match (bytes(&body, "ciphertext", "ciphertextCrc32c"), along) {
            (Ok(ciphertext), Ok(along)) => (ciphertext, along),
            (Err(refused), _) | (_, Err(refused)) => return refused,
        };
        let Some((plaintext, _)) = self.encrypted.get(&ciphertext).filter(|(_, bound)| *bound == along)
        else {
            return error(
                400,
                "INVALID_ARGUMENT",
                "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
            );
        };
        let damage = u32::from(self.damaged > 0);
        self.damaged -= damage;
        Answer::json(
            200,
            &json!({
                "plaintext": STANDARD.encode(plaintext),
                "plaintextCrc32c": (crc32c(plaintext) ^ damage).to_string(),
                "usedPrimary": true,
                "protectionLevel": "SOFTWARE",
            }),
        )
    }
}
