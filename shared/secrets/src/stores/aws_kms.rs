//! AWS KMS, for values that are kept encrypted where they are configured: `aws-kms:env/OPENAI_API_KEY`,
//! `aws-kms:data/AQICAHh…`.
//!
//! Authentication: the environment's identity or a role that it assumes, as for AWS Secrets Manager
//! (`keyturn_identity::aws`). Naming: `env/NAME` is the variable `NAME`, which holds the ciphertext in base64, as `aws kms
//! encrypt --query CiphertextBlob --output text` prints it; LiteLLM's prefix `aws_kms/` may stand in front.
//! `data/CIPHERTEXT` is the ciphertext itself. Whitespace around the value is dropped, as LiteLLM does. Versions: a digest
//! of the value ([`VersionId::of_value`](crate::VersionId::of_value)); there are no stages.
//!
//! | variable | meaning |
//! |---|---|
//! | `KEYTURN_AWS_REGION_NAME`, `AWS_REGION_NAME`, `AWS_REGION`, `AWS_DEFAULT_REGION` | the region: the first that is set, unless `AWS_KMS_KEY_ID` has one |
//! | `KEYTURN_AWS_ROLE_NAME` | the ARN of a role to assume; its other settings are [`keyturn_identity::aws::Aws::of_stores`]'s |
//! | `AWS_KMS_ENCRYPTION_CONTEXT` | what was encrypted with: a JSON object of texts |
//! | `AWS_KMS_KEY_ID` | the only key that may have encrypted it, by its id, alias or ARN; without it KMS goes by the ciphertext, which names its key |
//! | `AWS_ENDPOINT_URL_KMS`, `AWS_ENDPOINT_URL` | another endpoint |
//!
//! A ciphertext is decrypted once per process. A value changes by changing the variable, with a new process.
//!
//! Permissions: `kms:Decrypt` on the key, which an encryption context may limit (`kms:EncryptionContext:<name>`).
//!
//! The call is signed by hand rather than made by KMS's SDK, which would be there for this one operation:
//! <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html>. What LiteLLM takes for a ciphertext:
//! `secret_managers/aws_secret_manager.py` and `get_secret` in `secret_managers/main.py`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keyturn_ambient::Env;
use keyturn_http::call::Answer;
use keyturn_identity::IdentityError;
use keyturn_identity::aws::{Aws, passes, sign};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Surroundings;
use super::answers::{answer, unidentified};
use super::aws_secrets_manager::region_of;
use super::decrypted_once::DecryptedOnce;
use crate::{Secret, SecretError, SecretStore, SecretValue, Stage, VersionId};

/// What LiteLLM puts in front of a ciphertext.
const PREFIX: &str = "aws_kms/";
const CONTEXT: &str = "AWS_KMS_ENCRYPTION_CONTEXT";
const KEY_ID: &str = "AWS_KMS_KEY_ID";
/// How much of a ciphertext is shown, in characters: KMS's begin alike, and nothing can be made of that.
const SHOWN: usize = 12;
/// Errors that say: the access key is none, or is none any more.
const NO_KEY: [&str; 4] = [
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidClientTokenIdException",
    "UnrecognizedClientException",
];

/// Ciphertexts of KMS as a store.
pub struct AwsKms {
    env: Arc<dyn Env>,
    aws: Aws,
    known: DecryptedOnce,
}

impl AwsKms {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "aws-kms";

    /// The store that the environment names.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let aws = Aws::of_stores(&found.env, &found.http, &found.clock);
        let key = found.env.var(KEY_ID).unwrap_or_default();
        let aws = region_of(&key).map_or(aws.clone(), |region| aws.in_region(region));
        Self { env: Arc::clone(&found.env), aws, known: DecryptedOnce::default() }
    }

    /// The ciphertext that `name` names, in base64 without whitespace.
    fn ciphertext(&self, reference: &str, name: &str) -> Result<String, SecretError> {
        let text = match name.split_once('/') {
            Some(("env", variable)) => self
                .env
                .var(variable)
                .ok_or_else(|| SecretError::not_found(reference, "the variable is unset or empty"))?,
            Some(("data", text)) => text.to_owned(),
            _ => return Err(SecretError::not_found(reference, "expected env/NAME or data/CIPHERTEXT")),
        };
        let text = text.trim();
        // Long texts are often wrapped.
        let mut text = text.strip_prefix(PREFIX).unwrap_or(text).to_owned();
        text.retain(|c| !c.is_ascii_whitespace());
        if text.is_empty() || STANDARD.decode(&text).is_err() {
            return Err(SecretError::malformed(reference, "not a ciphertext in base64"));
        }
        Ok(text)
    }

    fn ask<'a>(&self, ciphertext: &'a str) -> Result<Ask<'a>, &'static str> {
        let context = self.env.var(CONTEXT).map(|text| serde_json::from_str(&text)).transpose();
        let encryption_context =
            context.map_err(|_| "AWS_KMS_ENCRYPTION_CONTEXT is not a JSON object of texts")?;
        Ok(Ask { ciphertext_blob: ciphertext, encryption_context, key_id: self.env.var(KEY_ID) })
    }
}

/// What is asked.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ask<'a> {
    ciphertext_blob: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

/// What is answered.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    /// In base64.
    plaintext: SecretString,
}

#[async_trait]
impl SecretStore for AwsKms {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let reference = reference(name);
        if *stage != Stage::Current {
            return Err(SecretError::not_found(reference, "ciphertexts have no stages"));
        }
        let ciphertext = self.ciphertext(&reference, name)?;
        let ask = self.ask(&ciphertext).map_err(|problem| SecretError::denied(&*reference, problem))?;
        let ask = serde_json::to_vec(&ask).map_err(|_| SecretError::malformed(&*reference, "no JSON"))?;
        self.known.get(ciphertext.as_bytes(), || decrypt(&self.aws, &reference, ask)).await
    }
}

/// The reference, with little of a ciphertext that stands in it.
fn reference(name: &str) -> String {
    let scheme = AwsKms::SCHEME;
    match name.strip_prefix("data/").map(|text| text.char_indices().nth(SHOWN).map(|(at, _)| &text[..at])) {
        Some(Some(start)) => format!("{scheme}:data/{start}…"),
        _ => format!("{scheme}:{name}"),
    }
}

async fn decrypt(aws: &Aws, reference: &str, ask: Vec<u8>) -> Result<Secret, SecretError> {
    let unidentified = |error| unidentified(reference, &error);
    let service = aws.service("kms", "KMS").map_err(unidentified)?;
    let region =
        aws.region().ok_or_else(|| unidentified(IdentityError::setting("AWS_REGION", "is not set")))?;
    let mut may_repeat = true;
    loop {
        let key = aws.access_key().await.map_err(unidentified)?;
        let call = service.call(Method::POST, &[]).body("application/x-amz-json-1.1", ask.clone());
        let call = call.header("x-amz-target", "TrentService.Decrypt");
        let answer = answer(reference, sign(call, &key, "kms", region, aws.now())).await?;
        if answer.status().is_success() {
            let value = value(reference, &answer)?;
            let version = VersionId::of_value(value.expose());
            return Ok(Secret::new(value, version));
        }
        let code = code(&answer);
        // A session may end before its time.
        if may_repeat && NO_KEY.contains(&&*code) && aws.refused(Some(&key.id)) {
            may_repeat = false;
            continue;
        }
        return Err(refusal(reference, &answer, &code));
    }
}

/// The value in an answer.
fn value(reference: &str, answer: &Answer) -> Result<SecretValue, SecretError> {
    let malformed = |what| SecretError::malformed(reference, what);
    let answer: Decrypted = answer.read().map_err(|_| malformed("the answer is not as documented"))?;
    let bytes = STANDARD.decode(answer.plaintext.expose_secret());
    let bytes = bytes.map_err(|_| malformed("the answer is not as documented"))?;
    let whole = SecretString::from(String::from_utf8(bytes).map_err(|_| malformed("binary, and not UTF-8"))?);
    let text = whole.expose_secret().trim();
    if text.is_empty() { Err(malformed("empty")) } else { Ok(SecretString::from(text).into()) }
}

/// KMS's name of an error; some services put a namespace in front.
fn code(answer: &Answer) -> String {
    let body = answer.value();
    let code = body.get("__type").and_then(Value::as_str).unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().to_owned()
}

/// What a refusal means. Codes: <https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors>,
/// <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>.
fn refusal(reference: &str, answer: &Answer, code: &str) -> SecretError {
    let status = answer.status();
    let told = match status.as_u16() {
        status if answer.may_tell(code) => format!("HTTP {status} {code}"),
        status => format!("HTTP {status}"),
    };
    match code {
        // Damaged, or encrypted with another context.
        "InvalidCiphertextException" => SecretError::malformed(reference, &told),
        code if passes(status, code) => SecretError::unavailable(reference, &told),
        // Also a key that is not there, is disabled, or is not the one that AWS_KMS_KEY_ID names.
        _ => SecretError::denied(reference, &told),
    }
}
