//! Making, changing, deleting and showing keys.

use keyturn_keys::KeyHash;
use keyturn_keys::ManageError;
use keyturn_keys::manage::{KeyRef, Patch};
use secrecy::SecretString;

use super::{named, ok, required};
use crate::error::Refusal;
use crate::routes::{Answer, Call};
use crate::types::key_row::{
    BulkFailure, BulkSuccess, BulkUpdated, DeletedKeys, GeneratedKey, KeyInfoAnswer, KeyInfosAnswer, KeyRow,
    NamedKey, SpendReset,
};
use crate::types::keys::{
    BulkUpdate, DeleteKeys, GenerateKey, ManyKeys, OneKey, ResetSpend, UpdateKey, WhichKey,
};
use crate::types::scalars::Shown;
use crate::{input, query};

/// The most keys of one request.
const MOST_KEYS: usize = 500;

/// Make a key
///
/// The value is shown this once.
#[utoipa::path(post, path = "/key/generate", tag = "keys", request_body = Option<GenerateKey>,
    responses((status = 200, description = "The key.", body = GeneratedKey)))]
pub(crate) async fn generate(call: Call<'_>) -> Answer {
    let new = input::read::<GenerateKey>(call.body)?.into_new();
    let created = call.manager.generate(call.caller()?, new).await?;
    Ok(ok(&GeneratedKey::from(created)))
}

/// Make a key that belongs to a team and to no user
#[utoipa::path(post, path = "/key/service-account/generate", tag = "keys", request_body = GenerateKey,
    responses((status = 200, description = "The key.", body = GeneratedKey)))]
pub(crate) async fn generate_service_account(call: Call<'_>) -> Answer {
    let new = input::read::<GenerateKey>(call.body)?.into_new();
    let created = call.manager.generate_service_account(call.caller()?, new).await?;
    Ok(ok(&GeneratedKey::from(created)))
}

/// Change a key
///
/// What is left out stays, null clears.
#[utoipa::path(post, path = "/key/update", tag = "keys", request_body = UpdateKey,
    responses((status = 200, description = "The key as it is now.", body = NamedKey)))]
pub(crate) async fn update(call: Call<'_>) -> Answer {
    let mut changes = input::read::<UpdateKey>(call.body)?;
    let (key, sent) = which(&mut changes)?;
    let info = call.manager.update(call.caller()?, &key, &changes.changes()).await?;
    Ok(ok(&NamedKey { key: Shown(sent), row: info.into() }))
}

/// The key that an update is about, and how it was named. Without a `key` the alias says which.
fn which(changes: &mut UpdateKey) -> Result<(KeyRef, SecretString), Refusal> {
    if let Some(key) = changes.key.take() {
        return Ok((named(&key)?, key));
    }
    match std::mem::take(&mut changes.key_alias) {
        Patch::Set(alias) => Ok((KeyRef::Alias(alias.clone()), SecretString::from(alias))),
        Patch::Keep | Patch::Clear => required("key", None),
    }
}

/// Change many keys
///
/// One after the other; each change has its own result.
#[utoipa::path(post, path = "/key/bulk_update", tag = "keys", request_body = BulkUpdate,
    responses((status = 200, description = "What became of each.", body = BulkUpdated)))]
pub(crate) async fn bulk_update(call: Call<'_>) -> Answer {
    let bulk = input::read::<BulkUpdate>(call.body)?;
    few("keys", bulk.keys.len())?;
    let mut sent = Vec::with_capacity(bulk.keys.len());
    let mut changes = Vec::with_capacity(bulk.keys.len());
    for item in &bulk.keys {
        let mut change = input::read::<UpdateKey>(item.get().as_bytes())?;
        let (key, name) = which(&mut change)?;
        changes.push((key, change.changes()));
        sent.push(name);
    }
    let results = call.manager.bulk_update(call.caller()?, &changes).await;
    let mut updated = BulkUpdated {
        total_requested: changes.len(),
        successful_updates: Vec::new(),
        failed_updates: Vec::new(),
    };
    for (key, result) in sent.into_iter().map(Shown).zip(results) {
        match result {
            Ok(info) => updated.successful_updates.push(BulkSuccess { key, key_info: info.into() }),
            Err(error @ ManageError::Unavailable(_)) => return Err(error.into()),
            Err(error) => updated.failed_updates.push(BulkFailure { key, failed_reason: error.to_string() }),
        }
    }
    Ok(ok(&updated))
}

/// Delete keys
///
/// Those that are not there are left out of the answer.
#[utoipa::path(post, path = "/key/delete", tag = "keys", request_body = DeleteKeys,
    responses((status = 200, description = "What was deleted.", body = DeletedKeys)))]
pub(crate) async fn delete(call: Call<'_>) -> Answer {
    let DeleteKeys { keys, key_aliases } = input::read(call.body)?;
    let mut sent: Vec<SecretString> = keys.unwrap_or_default();
    // What is neither a value nor a hash is no key, as if it were not there.
    let mut refs: Vec<Option<KeyRef>> = sent.iter().map(|key| KeyRef::value_or_hash(key.clone())).collect();
    for alias in key_aliases.unwrap_or_default() {
        refs.push(Some(KeyRef::Alias(alias.clone())));
        sent.push(SecretString::from(alias));
    }
    if sent.is_empty() {
        return Err(Refusal::field("keys", "or key_aliases is required"));
    }
    few("keys", sent.len())?;
    let (refs, sent): (Vec<_>, Vec<_>) =
        refs.into_iter().zip(sent).filter_map(|(key, sent)| Some((key?, sent))).unzip();
    let deleted = call.manager.delete(call.caller()?, &refs).await?;
    let deleted_keys =
        sent.into_iter().zip(deleted).filter(|(_, id)| id.is_some()).map(|(sent, _)| Shown(sent)).collect();
    Ok(ok(&DeletedKeys { deleted_keys }))
}

/// Show a key
///
/// Every key may ask for itself.
#[utoipa::path(get, path = "/key/info", tag = "keys", params(WhichKey),
    responses((status = 200, description = "The key and what it has spent.", body = KeyInfoAnswer)))]
pub(crate) async fn info(call: Call<'_>) -> Answer {
    let WhichKey { key } = query::read(call.query)?;
    let (reference, sent) = match (key, &call.who.key) {
        (Some(key), _) => (named(&key)?, key),
        (None, Some(own)) => (KeyRef::Hash(own.id), SecretString::from(own.id.to_string())),
        (None, None) => return required("key", None),
    };
    let is_own = call.who.key.as_ref().is_some_and(|own| {
        let opens = |hash: &KeyHash| own.id == *hash || own.hashes.contains_key(hash);
        match &reference {
            KeyRef::Value(value) => opens(&KeyHash::of(value)),
            KeyRef::Hash(hash) => opens(hash),
            KeyRef::Alias(_) => false,
        }
    });
    let own = keyturn_keys::manage::Caller::admin(None);
    let caller = if is_own { &own } else { call.caller()? };
    let info = call.manager.info(caller, &reference).await?;
    Ok(ok(&KeyInfoAnswer { key: Shown(sent), info: info.into() }))
}

/// Show many keys
///
/// Those that are not there, or are not the caller's business, are left out.
#[utoipa::path(post, path = "/v2/key/info", tag = "keys", request_body = ManyKeys,
    responses((status = 200, description = "The keys and what they have spent.", body = KeyInfosAnswer)))]
pub(crate) async fn infos(call: Call<'_>) -> Answer {
    let ManyKeys { keys } = input::read(call.body)?;
    few("keys", keys.len())?;
    let mut answer = KeyInfosAnswer { key: Vec::new(), info: Vec::new() };
    for key in keys {
        let Some(reference) = KeyRef::value_or_hash(key.clone()) else { continue };
        match call.manager.info(call.caller()?, &reference).await {
            Ok(info) => {
                answer.key.push(Shown(key));
                answer.info.push(info.into());
            }
            Err(ManageError::NotFound { .. } | ManageError::Denied { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ok(&answer))
}

/// Refuse a key's requests
#[utoipa::path(post, path = "/key/block", tag = "keys", request_body = OneKey,
    responses((status = 200, description = "The key as it is now.", body = KeyRow)))]
pub(crate) async fn block(call: Call<'_>) -> Answer {
    set_blocked(call, true).await
}

/// Refuse a key's requests no longer
#[utoipa::path(post, path = "/key/unblock", tag = "keys", request_body = OneKey,
    responses((status = 200, description = "The key as it is now.", body = KeyRow)))]
pub(crate) async fn unblock(call: Call<'_>) -> Answer {
    set_blocked(call, false).await
}

async fn set_blocked(call: Call<'_>, blocked: bool) -> Answer {
    let OneKey { key } = input::read(call.body)?;
    let info = call.manager.block(call.caller()?, &named(&key)?, blocked).await?;
    Ok(ok(&KeyRow::from(info)))
}

/// Set what counts as spent back
#[utoipa::path(post, path = "/key/{key}/reset_spend", tag = "keys", request_body = ResetSpend,
    params(("key" = String, Path, description = "The key's value or hash.")),
    responses((status = 200, description = "What counts as spent now.", body = SpendReset)))]
pub(crate) async fn reset_spend(call: Call<'_>) -> Answer {
    let ResetSpend { reset_to } = input::read(call.body)?;
    let key = named(&required("key", call.path_key.clone())?)?;
    let (info, previous_spend) = call.manager.reset_spend(call.caller()?, &key, reset_to).await?;
    Ok(ok(&SpendReset {
        key_hash: info.value.id.to_string(),
        spend: info.spend.spend,
        previous_spend,
        max_budget: info.value.limits.max_budget,
        budget_reset_at: info.spend.budget_reset_at,
    }))
}

/// Refuses lists that would take too long.
pub(super) fn few(field: &'static str, count: usize) -> Result<(), Refusal> {
    if count > MOST_KEYS {
        return Err(Refusal::field(field, "must not be more than 500"));
    }
    Ok(())
}
