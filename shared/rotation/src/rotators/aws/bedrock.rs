//! What Bedrock says to a credential: an access key or an API key.

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::super::completions::PATIENCE;
use super::super::http_calls::{Answer, By, Meaning as _};
use super::{AccessKey, Api};
use crate::RotationError;

/// What a path's segment has plainly in AWS's signatures: RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Api {
    /// The address of a path, which is encoded.
    fn under(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    /// `POST /model/{model}/converse`, with next to nothing to say.
    fn converse(&self, model: &str) -> (Url, Value) {
        let url = self.under(&format!("model/{}/converse", utf8_percent_encode(model, SEGMENT)));
        let body = json!({
            "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
            "inferenceConfig": {"maxTokens": 1},
        });
        (url, body)
    }

    /// Asks each of Bedrock's models for one token, with an access key or an API key.
    ///
    /// # Errors
    ///
    /// [`RotationError::Unfit`]: the credential is good and may not use a model, or there is no such model; else as any
    /// call of Bedrock's.
    pub(in super::super) async fn prove(
        &self,
        shown: Shown<'_>,
        models: &[String],
    ) -> Result<(), RotationError> {
        for model in models {
            let (url, body) = self.converse(model);
            let call = By::Tested.calls(&self.tools, Method::POST, url).json(&body);
            let call = match shown {
                Shown::Key(key) => self.sign(call, key),
                Shown::Bearer(key) => call.bearer(key),
            };
            match verdict(&call.within(PATIENCE).answer().await?)? {
                Verdict::Good => {}
                Verdict::NotAllowed => {
                    let text = "the credential is good, and may not use one of verify_models (HTTP 403)";
                    return Err(RotationError::Unfit(text.to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Asks for Bedrock's list of models, which any API key can.
    ///
    /// # Errors
    ///
    /// [`RotationError::Refused`] and what else may come of a call.
    pub(in super::super) async fn try_api_key(&self, key: &SecretString) -> Result<(), RotationError> {
        let call = By::Tested.calls(&self.tools, Method::GET, self.under("foundation-models"));
        verdict(&call.bearer(key).answer().await?).map(drop)
    }
}

/// What a call of Bedrock's is made with.
#[derive(Clone, Copy)]
pub(in super::super) enum Shown<'a> {
    Key(&'a AccessKey),
    Bearer(&'a SecretString),
}

/// What Bedrock thinks of a credential.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It is good, and its user may not do this.
    NotAllowed,
}

/// What an answer of Bedrock's says of the credential. A user that may not do what was asked is told so in words,
/// `User: … is not authorized to perform: bedrock:…`; the same of `CallWithBearerToken` says that its API keys are no
/// good at all.
fn verdict(answer: &Answer) -> Result<Verdict, RotationError> {
    if answer.status().is_success() {
        return Ok(Verdict::Good);
    }
    let body = answer.value();
    let message = ["message", "Message"].iter().find_map(|name| body.get(*name).and_then(Value::as_str));
    let may_not = message.is_some_and(|message| {
        message.contains("is not authorized to perform") && !message.contains("bedrock:CallWithBearerToken")
    });
    if answer.status() == 403 && may_not { Ok(Verdict::NotAllowed) } else { Err(answer.error()) }
}
