//! The smallest chat completion in OpenAI's format: proof that a credential may use a model.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::http_calls::{Answer, By, Meaning as _, Service};
use crate::RotationError;

/// How long a completion may take: a model may have to be woken, or think before its first token.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The name of the limit on what a model may say, and the limit: of one token, save where a service takes no such.
pub(super) type Limit = (&'static str, u32);

/// Asks each model for next to nothing.
///
/// # Errors
///
/// The first model's that does not answer.
pub(super) async fn prove(
    service: &Service,
    credential: &SecretString,
    models: &[String],
    (limit_name, limit): Limit,
) -> Result<(), RotationError> {
    for model in models {
        let body =
            json!({"model": model, "messages": [{"role": "user", "content": "Hi"}], limit_name: limit});
        let call = service.post(By::Tested, &["chat", "completions"]).bearer(credential).json(&body);
        let answer = call.within(PATIENCE).answer().await?;
        judge(&answer)?;
    }
    Ok(())
}

/// Whether a model answered.
///
/// # Errors
///
/// It did not.
pub(super) fn judge(answer: &Answer) -> Result<(), RotationError> {
    // A model that thinks first may use the limit up before it says anything: then it has worked.
    let cut_short = answer.status() == 400
        && answer.value()["error"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("model output limit was reached"));
    if answer.status().is_success() || cut_short { Ok(()) } else { Err(answer.error()) }
}
