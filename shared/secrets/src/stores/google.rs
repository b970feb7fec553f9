//! What the stores at Google share: who we are there, how they are called, what their refusals mean, and their
//! checksum.

use keyturn_http::call::{Answer, Call, Service, is_private};
use keyturn_identity::google::Google;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::{Surroundings, answers};
use crate::SecretError;

/// Google's error for something that is not in the state for it: a disabled version, an etag of another time.
pub(super) const FAILED_PRECONDITION: &str = "FAILED_PRECONDITION";

/// A service of Google's.
pub(super) struct Client {
    found: Surroundings,
    google: Google,
    /// The variable that names another address for it.
    endpoint: &'static str,
}

impl Client {
    pub(super) fn new(found: &Surroundings, google: Google, endpoint: &'static str) -> Self {
        Self { found: found.clone(), google, endpoint }
    }

    /// Who we are.
    pub(super) fn google(&self) -> &Google {
        &self.google
    }

    pub(super) fn var(&self, name: &str) -> Option<String> {
        self.found.env.var(name)
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        self.found.clock.now()
    }

    /// The service at an address, or at the one that the variable names.
    pub(super) fn service(&self, reference: &str, usual: &str) -> Result<Service, SecretError> {
        let base = self.var(self.endpoint).unwrap_or_else(|| usual.to_owned());
        let service = Service::at(&self.found.http, &base).filter(|service| is_private(service.base()));
        service.ok_or_else(|| {
            let told = format!("{} is not the https address of a service", self.endpoint);
            SecretError::denied(reference, &told)
        })
    }

    /// Makes a call as ourselves. A token that is refused before its time is replaced, once.
    pub(super) async fn ask<'a>(
        &self,
        reference: &str,
        call: impl Fn() -> Call<'a>,
    ) -> Result<Answer, SecretError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let token = self.google.token().await;
            let token = token.map_err(|error| answers::unidentified(reference, &error))?;
            let answer = answers::answer(reference, call().bearer(&token)).await?;
            if answer.status().as_u16() != 401 || tries == 0 {
                return Ok(answer);
            }
            self.google.refused(&token);
        }
    }
}

/// Google's name of an error, to be decided by; what may be told of it is another matter.
pub(super) fn status(answer: &Answer) -> Option<String> {
    answer.value().pointer("/error/status")?.as_str().map(str::to_owned)
}

/// Text of base64, as JSON has bytes.
pub(super) fn decode(text: &SecretString) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    STANDARD.decode(text.expose_secret()).ok().map(zeroize::Zeroizing::new)
}

/// Bytes that are UTF-8, as a secret.
pub(super) fn text(bytes: &[u8]) -> Option<SecretString> {
    std::str::from_utf8(bytes).ok().map(SecretString::from)
}

/// A 64-bit integer, which JSON of Protocol Buffers writes as a text.
pub(super) fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Int64 {
        Number(u64),
        Text(String),
    }
    match Option::deserialize(deserializer)? {
        None => Ok(None),
        Some(Int64::Number(number)) => Ok(Some(number)),
        Some(Int64::Text(text)) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(serde::de::Error::custom("no integer")),
        },
    }
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), with which Google's answers are checked.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let next = |crc: u32, byte: &u8| (crc >> 8) ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(!0, next)
}

const fn table() -> [u32; 256] {
    // The polynomial, its bits reversed.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0; 256];
    let (mut index, mut value) = (0, 0_u32);
    while index < table.len() {
        let (mut crc, mut bit) = (value, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        // RFC 3720, appendix B.4; and the check value of the catalogue of CRC algorithms.
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(b""), 0);
    }
}
