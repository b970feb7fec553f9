//! Key Vault.

use std::collections::BTreeMap;

use super::{Answer, Asked, Kept, Loss, Method, State, Value, error, fields, json, now};

const API: &str = "2025-07-01";
const LONGEST_VALUE: usize = 25_600;
const MOST_TAGS: usize = 15;
const LONGEST_TAG: usize = 256;
const PAGE: usize = 25;

pub(super) fn answer(state: &mut State, asked: &Asked) -> Answer {
    let query = fields(&asked.query);
    let token = asked.header("authorization").strip_prefix("Bearer ");
    if token.is_none_or(|token| !state.tokens.contains(token)) {
        return error(401, "Unauthorized", None, "AKV10000: Request is missing a Bearer or PoP token.");
    }
    if query.get("api-version").map(String::as_str) != Some(API) {
        return error(400, "BadParameter", None, "The specified version is not recognized.");
    }
    if let Some((_, act)) = state.before.take_if(|(method, _)| *method == asked.method) {
        act(state);
    }
    let answer = unless_lost(state, asked, &query);
    if let Some((_, act)) = state.after.take_if(|(method, _)| *method == asked.method) {
        act(state);
    }
    answer
}

/// Answers, unless this is the call that is lost.
fn unless_lost(state: &mut State, asked: &Asked, query: &BTreeMap<String, String>) -> Answer {
    if asked.method == Method::GET {
        return route(state, asked, query);
    }
    let loss = match state.loss {
        Some((0, loss)) => {
            state.loss = None;
            Some(loss)
        }
        Some((left, loss)) => {
            state.loss = Some((left - 1, loss));
            None
        }
        None => None,
    };
    let down = || error(503, "ServiceUnavailable", None, "The service is not available.");
    match loss {
        None => route(state, asked, query),
        Some(Loss::Call) => down(),
        Some(Loss::Answer) => {
            route(state, asked, query);
            down()
        }
    }
}

fn route(state: &mut State, asked: &Asked, query: &BTreeMap<String, String>) -> Answer {
    let path: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
    let host = asked.header("host").to_owned();
    if let Some(name) = path.get(1)
        && !is_name(name)
    {
        return error(400, "BadParameter", None, "The request URI contains an invalid name.");
    }
    match (asked.method.as_str(), &*path) {
        ("GET", ["secrets"]) => list(state, &host, query),
        ("GET", ["secrets", name]) => get(state, &host, name, None),
        ("GET", ["secrets", name, version]) => get(state, &host, name, Some(version)),
        ("PUT", ["secrets", name]) => put(state, &host, name, &asked.json()),
        ("PATCH", ["secrets", name, version]) => patch(state, &host, name, version, &asked.json()),
        ("DELETE", ["secrets", name]) => delete(state, &host, name),
        ("GET", ["deletedsecrets", name]) => {
            let there = is_moving(state, name).is_none().then(|| state.deleted.get(*name)).flatten();
            there.map_or_else(|| not_found(name), |versions| deleted(state, &host, name, versions))
        }
        ("DELETE", ["deletedsecrets", name]) => purge(state, name),
        ("POST", ["deletedsecrets", name, "recover"]) => recover(state, &host, name),
        _ => error(405, "MethodNotAllowed", None, "The method is not allowed."),
    }
}

fn is_name(name: &str) -> bool {
    (1..=127).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn not_found(name: &str) -> Answer {
    let message = format!("A secret with (name/id) {name} was not found in this key vault.");
    error(404, "SecretNotFound", None, &message)
}

fn attributes(state: &State, kept: &Kept) -> Value {
    let level = if state.is_protected { "Recoverable" } else { "Recoverable+Purgeable" };
    json!({
        "enabled": kept.enabled, "created": kept.created, "updated": kept.created,
        "recoveryLevel": level, "recoverableDays": 90,
    })
}

fn bundle(state: &State, host: &str, name: &str, kept: &Kept) -> Value {
    let mut bundle = json!({
        "id": format!("http://{host}/secrets/{name}/{}", kept.id),
        "attributes": attributes(state, kept),
    });
    if kept.tags.as_object().is_some_and(|tags| !tags.is_empty()) {
        bundle["tags"] = kept.tags.clone();
    }
    bundle
}

/// Whether a name is on its way somewhere, and where: one call less meets it there.
fn is_moving(state: &mut State, name: &str) -> Option<&'static str> {
    let (what, left) = state.moving.get_mut(name)?;
    let what = *what;
    *left -= 1;
    if *left == 0 {
        state.moving.remove(name);
    }
    Some(what)
}

fn begin_move(state: &mut State, name: &str, what: &'static str) {
    if state.move_takes > 0 {
        state.moving.insert(name.to_owned(), (what, state.move_takes));
    }
}

fn get(state: &State, host: &str, name: &str, version: Option<&str>) -> Answer {
    let versions = state.secrets.get(name).map(Vec::as_slice).unwrap_or_default();
    let found = match version {
        None => versions.last(),
        Some(version) => versions.iter().find(|kept| kept.id == version),
    };
    let Some(kept) = found else { return not_found(name) };
    if !kept.enabled {
        let message = "Operation get is not allowed on a disabled secret.";
        return error(403, "Forbidden", Some("SecretDisabled"), message);
    }
    let mut bundle = bundle(state, host, name, kept);
    bundle["value"] = kept.value.as_str().into();
    Answer::json(200, &bundle)
}

/// Whether there is nothing in a body but what the service knows.
fn knows(body: &Value, known: &[&str]) -> bool {
    body.as_object().is_some_and(|body| body.keys().all(|name| known.contains(&&**name)))
}

fn are_tags(tags: &Value) -> bool {
    tags.as_object().is_some_and(|tags| {
        let fits = |name: &String, value: &Value| {
            let length = |text: &str| text.chars().count() <= LONGEST_TAG;
            length(name) && value.as_str().is_some_and(length)
        };
        tags.len() <= MOST_TAGS && tags.iter().all(|(name, value)| fits(name, value))
    })
}

fn put(state: &mut State, host: &str, name: &str, body: &Value) -> Answer {
    let wrong = |what: &str| error(400, "BadParameter", None, what);
    let tags = body.get("tags").cloned().unwrap_or_else(|| json!({}));
    if !knows(body, &["value", "tags", "attributes", "contentType"]) || !are_tags(&tags) {
        return wrong("A parameter is invalid.");
    }
    let Some(value) = body["value"].as_str().filter(|value| !value.is_empty()) else {
        return wrong("The value is missing.");
    };
    if value.len() > LONGEST_VALUE {
        return wrong("The value is too long.");
    }
    if let Some(what) = is_moving(state, name) {
        return error(409, "Conflict", Some(what), "The secret cannot be re-created; retry later.");
    }
    if state.deleted.contains_key(name) {
        let message = "The secret is in a deleted but recoverable state, and its name cannot be reused.";
        return error(409, "Conflict", Some("ObjectIsDeletedButRecoverable"), message);
    }
    let enabled = body["attributes"]["enabled"].as_bool().unwrap_or(true);
    let kept = state.push(name, value, enabled, tags).clone();
    let mut bundle = bundle(state, host, name, &kept);
    bundle["value"] = kept.value.into();
    Answer::json(200, &bundle)
}

fn patch(state: &mut State, host: &str, name: &str, version: &str, body: &Value) -> Answer {
    let tags = body.get("tags");
    if !knows(body, &["tags", "attributes", "contentType"]) || tags.is_some_and(|tags| !are_tags(tags)) {
        return error(400, "BadParameter", None, "A parameter is invalid.");
    }
    let versions = state.secrets.get_mut(name).map(Vec::as_mut_slice).unwrap_or_default();
    let Some(kept) = versions.iter_mut().find(|kept| kept.id == version) else { return not_found(name) };
    // What is not said stays; tags that are said are all that there are.
    if let Some(tags) = tags {
        kept.tags = tags.clone();
    }
    if let Some(enabled) = body["attributes"]["enabled"].as_bool() {
        kept.enabled = enabled;
    }
    let kept = kept.clone();
    Answer::json(200, &bundle(state, host, name, &kept))
}

fn deleted(state: &State, host: &str, name: &str, versions: &[Kept]) -> Answer {
    let Some(newest) = versions.last() else { return not_found(name) };
    let mut bundle = bundle(state, host, name, newest);
    bundle["recoveryId"] = format!("http://{host}/deletedsecrets/{name}").into();
    bundle["deletedDate"] = now().into();
    bundle["scheduledPurgeDate"] = (now() + 90 * 86_400).into();
    Answer::json(200, &bundle)
}

fn delete(state: &mut State, host: &str, name: &str) -> Answer {
    let Some(versions) = state.secrets.remove(name) else { return not_found(name) };
    let answer = deleted(state, host, name, &versions);
    state.deleted.insert(name.to_owned(), versions);
    begin_move(state, name, "ObjectIsBeingDeleted");
    answer
}

fn purge(state: &mut State, name: &str) -> Answer {
    if let Some(what) = is_moving(state, name) {
        return error(409, "Conflict", Some(what), "The secret is currently being deleted.");
    }
    if !state.deleted.contains_key(name) {
        return not_found(name);
    }
    if state.is_protected {
        let message =
            "Operation \"purge\" is not allowed because purge protection is enabled for this vault.";
        return error(403, "Forbidden", None, message);
    }
    state.deleted.remove(name);
    begin_move(state, name, "ObjectIsBeingDeleted");
    Answer(204, "application/json", "".into())
}

fn recover(state: &mut State, host: &str, name: &str) -> Answer {
    if let Some(what) = is_moving(state, name) {
        return error(409, "Conflict", Some(what), "The secret is currently being deleted.");
    }
    let Some(versions) = state.deleted.remove(name) else { return not_found(name) };
    let answer = versions.last().map(|newest| Answer::json(200, &bundle(state, host, name, newest)));
    state.secrets.insert(name.to_owned(), versions);
    begin_move(state, name, "ObjectIsBeingRecovered");
    answer.unwrap_or_else(|| not_found(name))
}

fn list(state: &State, host: &str, query: &BTreeMap<String, String>) -> Answer {
    let most = query.get("maxresults").map_or(Some(PAGE), |most| most.parse().ok());
    let Some(most) = most.filter(|most| (1..=PAGE).contains(most)) else {
        return error(400, "BadParameter", None, "maxresults is out of range.");
    };
    let from = query.get("$skiptoken").map(String::as_str).unwrap_or_default();
    let mut rest = state.secrets.iter().filter(|(name, _)| name.as_str() >= from);
    let items: Vec<Value> = rest
        .by_ref()
        .take(most)
        .filter_map(|(name, versions)| {
            let mut item = bundle(state, host, name, versions.last()?);
            item["id"] = format!("http://{host}/secrets/{name}").into();
            Some(item)
        })
        .collect();
    let next = rest.next().map(|(name, _)| {
        format!("http://{host}/secrets?api-version={API}&%24skiptoken={name}&maxresults={most}")
    });
    Answer::json(200, &json!({"value": items, "nextLink": next}))
}
