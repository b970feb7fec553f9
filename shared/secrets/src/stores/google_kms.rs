//! Google Cloud KMS: values that stand encrypted in the environment or in the configuration, as in LiteLLM.
//!
//! Authentication: `keyturn_identity::google` (`GOOGLE_APPLICATION_CREDENTIALS`, or the metadata server).
//!
//! Naming: `google-kms:env/NAME` is the ciphertext in the environment variable `NAME`; `google-kms:data/CIPHERTEXT` is
//! the ciphertext itself, in base64. In a variable it may also be a bytes literal of Python (`b'\n$\x00…'`), which
//! LiteLLM's documentation shows; its code takes base64 only by now.
//!
//! The value is the plaintext, as UTF-8. Each ciphertext is decrypted once per process ([`super::decrypted_once`]), so
//! there is nothing to refresh and no previous version. The checksums of what is sent and of what comes back are
//! proved: the service refuses a ciphertext that was damaged on its way, and a plaintext with a wrong checksum is asked
//! for once more.
//!
//! Permissions: `cloudkms.cryptoKeyVersions.useToDecrypt` on the key (`roles/cloudkms.cryptoKeyDecrypter`).
//!
//! | variable | meaning |
//! |---|---|
//! | `GOOGLE_KMS_RESOURCE_NAME` | the key: `projects/P/locations/L/keyRings/R/cryptoKeys/K` |
//! | `GOOGLE_KMS_ADDITIONAL_AUTHENTICATED_DATA` | the text that the values were encrypted with besides, if any |
//! | `GOOGLE_KMS_ENDPOINT` | another address for the API: https, or on this machine |
//!
//! <https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/decrypt>

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyturn_http::call::{Answer, Service};
use keyturn_identity::google::Google;
use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::decrypted_once::DecryptedOnce;
use super::google::{Client, crc32c, decode, int64, text};
use super::{Surroundings, answers};
use crate::{Secret, SecretError, SecretStore, SecretValue, Stage, VersionId};

const KEY: &str = "GOOGLE_KMS_RESOURCE_NAME";
const ALONG: &str = "GOOGLE_KMS_ADDITIONAL_AUTHENTICATED_DATA";
const ENDPOINT: &str = "GOOGLE_KMS_ENDPOINT";
const USUAL: &str = "https://cloudkms.googleapis.com";

/// Cloud KMS as a store.
pub struct GoogleKms {
    client: Client,
    known: DecryptedOnce,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    ciphertext: String,
    ciphertext_crc32c: String,
    #[serde(flatten)]
    along: Option<Along>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Along {
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    plaintext: SecretString,
    #[serde(default, deserialize_with = "int64")]
    plaintext_crc32c: Option<u64>,
}

impl GoogleKms {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "google-kms";

    /// The store that the environment names. Nothing is asked or read before the first use.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let google = Google::from_env(&found.env, &found.http, &found.clock);
        Self { client: Client::new(found, google, ENDPOINT), known: DecryptedOnce::default() }
    }

    /// The ciphertext that a name means.
    fn ciphertext(&self, reference: &str, name: &str) -> Result<Vec<u8>, SecretError> {
        let malformed = |what: &str| SecretError::malformed(reference, what);
        if let Some(data) = name.strip_prefix("data/") {
            return STANDARD.decode(data).map_err(|_| malformed("the ciphertext is not base64"));
        }
        let told = "expected env/NAME or data/CIPHERTEXT";
        let variable = name.strip_prefix("env/").filter(|name| !name.is_empty());
        let variable = variable.ok_or_else(|| SecretError::not_found(reference, told))?;
        let told = "no such variable, or it is empty";
        let value = self.client.var(variable).ok_or_else(|| SecretError::not_found(reference, told))?;
        let value = value.trim();
        let bytes = STANDARD.decode(value).ok().or_else(|| bytes_literal(value));
        let bytes = bytes.filter(|bytes| !bytes.is_empty());
        bytes.ok_or_else(|| malformed("the ciphertext is neither base64 nor a bytes literal"))
    }

    async fn decrypt(&self, reference: &str, ciphertext: &[u8]) -> Result<Secret, SecretError> {
        let key = self.client.var(KEY);
        let key = key.ok_or_else(|| SecretError::denied(reference, &format!("{KEY} is not set")))?;
        let service = self.client.service(reference, USUAL)?;
        let path = path(&key).ok_or_else(|| {
            let told = format!("{KEY} is not projects/P/locations/L/keyRings/R/cryptoKeys/K");
            SecretError::denied(reference, &told)
        })?;
        let crc = |bytes: &[u8]| crc32c(bytes).to_string();
        let along = self.client.var(ALONG).map(|text| Along {
            additional_authenticated_data: STANDARD.encode(&text),
            additional_authenticated_data_crc32c: crc(text.as_bytes()),
        });
        let ciphertext_crc32c = crc(ciphertext);
        let request = Request { ciphertext: STANDARD.encode(ciphertext), ciphertext_crc32c, along };
        match self.once(reference, &service, &path, &request).await? {
            Some(secret) => Ok(secret),
            None => self.once(reference, &service, &path, &request).await?.ok_or_else(|| {
                SecretError::unavailable(reference, "the plaintext does not have its checksum")
            }),
        }
    }

    /// Asks for a plaintext; `None` if it came damaged.
    async fn once(
        &self,
        reference: &str,
        service: &Service,
        path: &[String],
        request: &Request,
    ) -> Result<Option<Secret>, SecretError> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let answer = self.client.ask(reference, || service.call(Method::POST, &path).json(request)).await?;
        if !answer.status().is_success() {
            return Err(refusal(reference, &answer));
        }
        let malformed = |what: &str| SecretError::malformed(reference, what);
        let response: Response = answer.read().map_err(|error| malformed(&error.to_string()))?;
        let bytes = decode(&response.plaintext).ok_or_else(|| malformed("the plaintext is no base64"))?;
        if bytes.is_empty() && response.plaintext_crc32c.is_none() {
            return Err(malformed("the answer has no plaintext"));
        }
        if response.plaintext_crc32c != Some(u64::from(crc32c(&bytes))) {
            return Ok(None);
        }
        if bytes.is_empty() {
            return Err(malformed("empty"));
        }
        let value: SecretValue = text(&bytes).ok_or_else(|| malformed("the plaintext is not UTF-8"))?.into();
        let version = VersionId::of_value(value.expose());
        Ok(Some(Secret::new(value, version)))
    }
}

/// A ciphertext of another key, or none at all, is no outage; a key that is missing or disabled is an operator's work.
fn refusal(reference: &str, answer: &Answer) -> SecretError {
    match (answer.status().as_u16(), super::google::status(answer).as_deref()) {
        (400, Some("INVALID_ARGUMENT")) => SecretError::malformed(reference, &answer.told()),
        (404, _) => SecretError::denied(reference, &format!("{}: {KEY} names no key", answer.told())),
        _ => answers::refusal(reference, answer),
    }
}

/// The path of the call for a key.
fn path(key: &str) -> Option<Vec<String>> {
    let segments: Vec<&str> = key.split('/').collect();
    let ["projects", _, "locations", _, "keyRings", _, "cryptoKeys", name] = *segments.as_slice() else {
        return None;
    };
    let verb = format!("{name}:decrypt");
    let before = segments.iter().take(segments.len() - 1).copied();
    Some(["v1"].into_iter().chain(before).chain([&*verb]).map(str::to_owned).collect())
}

/// The bytes of a bytes literal of Python
/// (<https://docs.python.org/3/reference/lexical_analysis.html#string-and-bytes-literals>), without its raw and triple
/// quoted forms.
fn bytes_literal(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix(['b', 'B'])?;
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut bytes = Vec::new();
    let mut rest = inside.bytes().peekable();
    while let Some(byte) = rest.next() {
        if !byte.is_ascii() || byte == quote as u8 || byte == b'\n' {
            return None;
        }
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8, radix: u32| char::from(byte).to_digit(radix);
        match rest.next()? {
            b'\n' => {}
            escaped @ (b'\\' | b'\'' | b'"') => bytes.push(escaped),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b't' => bytes.push(b'\t'),
            b'n' => bytes.push(b'\n'),
            b'v' => bytes.push(11),
            b'f' => bytes.push(12),
            b'r' => bytes.push(b'\r'),
            b'x' => {
                let (high, low) = (digit(rest.next()?, 16)?, digit(rest.next()?, 16)?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            first @ b'0'..=b'7' => {
                let mut value = digit(first, 8)?;
                for _ in 0..2 {
                    let Some(next) = rest.next_if(|byte| matches!(byte, b'0'..=b'7')) else { break };
                    value = value * 8 + digit(next, 8)?;
                }
                bytes.push(u8::try_from(value).ok()?);
            }
            other if other.is_ascii() => bytes.extend([b'\\', other]),
            _ => return None,
        }
    }
    Some(bytes)
}

#[async_trait]
impl SecretStore for GoogleKms {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        if *stage != Stage::Current {
            return Err(SecretError::not_found(reference, "a ciphertext has one version"));
        }
        let ciphertext = self.ciphertext(&reference, name)?;
        // Boxed, since the memo holds it across its own wait.
        self.known.get(&ciphertext, async || Box::pin(self.decrypt(&reference, &ciphertext)).await).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_literals_are_read_as_python_reads_them() {
        for (literal, bytes) in [
            (r"b''", &b""[..]),
            (r"b'\n$\x00D\xac\xb4/\x8e\xc1'", b"\n$\x00D\xac\xb4/\x8e\xc1"),
            (r#"b"it's""#, b"it's"),
            (r#"b'a\'b\"c\\d\te\rf\ag\bh\fi\v'"#, b"a'b\"c\\d\te\rf\x07g\x08h\x0ci\x0b"),
            (r"b'\0\7\101\1018\q'", b"\0\x07AA8\\q"),
            ("b'a\\\nb'", b"ab"),
        ] {
            assert_eq!(bytes_literal(literal).as_deref(), Some(bytes), "{literal}");
        }
        for wrong in [
            "", "b", "b'", "b'a", "b'a\"", "'a'", "b'é'", r"b'\x4'", r"b'\x'", "b'a'b'", r"b'\777'", r"b'\'",
            "b'a\nb'",
        ] {
            assert_eq!(bytes_literal(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_a_whole_resource_name() {
        let whole = "projects/p/locations/global/keyRings/r/cryptoKeys/k";
        assert_eq!(path(whole).unwrap().join("/"), format!("v1/{whole}:decrypt"));
        let wrong =
            ["", "k", "projects/p/locations/global/keyRings/r", &format!("{whole}/cryptoKeyVersions/1")];
        for wrong in wrong {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
