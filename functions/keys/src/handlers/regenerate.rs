//! A new value for a key, the master key included.

use keyturn_keys::KeyHash;
use keyturn_keys::manage::Regenerate;
use secrecy::SecretString;

use super::{named, ok, required};
use crate::error::Refusal;
use crate::input;
use crate::routes::{Answer, Call};
use crate::types::key_row::GeneratedKey;
use crate::types::keys::{RegenerateKey, RegenerateNamed};

/// Makes repeats harmless, as the field of the same name.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Give a key a new value
///
/// The former ones go on working for `grace_period`. Spend and limits stay. With `new_master_key`, `key` is the
/// master key, which both values are for the time of the grace.
#[utoipa::path(post, path = "/key/regenerate", tag = "keys", request_body = RegenerateKey,
    params(("idempotency-key" = Option<String>, Header, description = "Makes repeats harmless.")),
    responses((status = 200, description = "The key with its new value.", body = GeneratedKey)))]
pub(crate) async fn regenerate(call: Call<'_>) -> Answer {
    let mut asked = input::read::<RegenerateKey>(call.body)?;
    let key = match asked.key.take() {
        Some(key) => key,
        // As in LiteLLM, a key may regenerate itself.
        None => match &call.who.key {
            Some(own) => SecretString::from(own.id.to_string()),
            None => return required("key", None),
        },
    };
    let how = Regenerate {
        new_key: asked.new_key.take(),
        grace: std::mem::take(&mut asked.grace_period),
        idempotency_key: idempotency_key(&call, asked.idempotency_key.take()),
        fields: asked.fields(),
    };
    let caller = call.caller()?;
    let made = match asked.new_master_key.take() {
        None => call.manager.regenerate(caller, &named(&key)?, &how).await?,
        Some(_) if how.new_key.is_some() => {
            return Err(Refusal::field("new_key", "must be left out: new_master_key is the new value"));
        }
        new_key => {
            let is_configured = call.door.is_master(&KeyHash::of(&key));
            call.manager.rotate_master(caller, &key, is_configured, &Regenerate { new_key, ..how }).await?
        }
    };
    Ok(ok(&GeneratedKey::from(made)))
}

/// Give a key a new value
///
/// As `/key/regenerate`.
#[utoipa::path(post, path = "/key/{key}/regenerate", tag = "keys", request_body = Option<RegenerateNamed>,
    params(
        ("key" = String, Path, description = "The key's value or hash."),
        ("idempotency-key" = Option<String>, Header, description = "Makes repeats harmless."),
    ),
    responses((status = 200, description = "The key with its new value.", body = GeneratedKey)))]
pub(crate) async fn regenerate_named(call: Call<'_>) -> Answer {
    let mut asked = input::read::<RegenerateNamed>(call.body)?;
    let key = required("key", call.path_key.clone())?;
    let how = Regenerate {
        new_key: asked.new_key.take(),
        grace: std::mem::take(&mut asked.grace_period),
        idempotency_key: idempotency_key(&call, asked.idempotency_key.take()),
        fields: asked.fields(),
    };
    let made = call.manager.regenerate(call.caller()?, &named(&key)?, &how).await?;
    Ok(ok(&GeneratedKey::from(made)))
}

/// What makes a repeat harmless: the field, else the header.
fn idempotency_key(call: &Call<'_>, field: Option<SecretString>) -> Option<SecretString> {
    let header = call.headers.get(IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
    field.or_else(|| header.map(SecretString::from))
}
