//! What administrators call: the providers' APIs for keys.

use std::fmt;
use std::sync::Arc;

use ::http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::keyring::{Key, KeyState, Keyring};
use super::{Seen, presented_key};

/// An API for keys.
pub trait Administration: fmt::Debug + Send + Sync {
    /// Answers a request, if it is one of this API's.
    fn answer(&self, keys: &mut Keyring, seen: &Seen) -> Option<(StatusCode, Value)>;
}

/// OpenAI's: the keys of service accounts of projects.
/// <https://platform.openai.com/docs/api-reference/project-api-keys>
#[derive(Debug)]
pub struct OpenAiAdministration {
    /// The admin key.
    pub admin: String,
}

/// Anthropic's: keys that people made are listed, renamed, stopped.
/// <https://docs.anthropic.com/en/api/admin-api/apikeys/list-api-keys>
#[derive(Debug)]
pub struct AnthropicAdministration {
    /// The admin key.
    pub admin: String,
}

/// Azure's: an account has two keys, and one of them is made anew.
/// <https://learn.microsoft.com/rest/api/aiservices/accountmanagement/accounts/regenerate-key>
#[derive(Debug)]
pub struct AzureAdministration {
    /// The access token for Resource Manager.
    pub token: String,
}

type Answer = Option<(StatusCode, Value)>;

fn error(status: StatusCode, code: &str) -> Answer {
    Some((status, json!({"type": "error", "error": {"message": code, "type": code, "code": code}})))
}

/// What is shown of a value.
fn redacted(value: &str) -> String {
    format!("{}...{}", &value[..value.len().min(14)], &value[value.len().saturating_sub(4)..])
}

fn query(seen: &Seen, name: &str) -> Option<String> {
    let (_, query) = seen.path.split_once('?')?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// A page of what is `there`, from after an id on.
fn page<'a>(there: impl Iterator<Item = &'a Key>, seen: &Seen, after: &str) -> (Vec<&'a Key>, bool) {
    let limit = query(seen, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(20);
    let mut all: Vec<&Key> = there.collect();
    if let Some(id) = query(seen, after) {
        let at = all.iter().position(|key| key.id == id).map_or(0, |at| at + 1);
        all.drain(..at);
    }
    let more = all.len() > limit;
    all.truncate(limit);
    (all, more)
}

fn path(seen: &Seen) -> Vec<&str> {
    let path = seen.path.split('?').next().unwrap_or_default();
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap_or_default()
}

fn is_admin(headers: &HeaderMap, admin: &str) -> bool {
    presented_key(headers) == admin
}

impl Administration for OpenAiAdministration {
    fn answer(&self, keys: &mut Keyring, seen: &Seen) -> Answer {
        let path = path(seen);
        let ["v1", "organization", "projects", project, rest @ ..] = path.as_slice() else { return None };
        if !is_admin(&seen.headers, &self.admin) {
            return error(StatusCode::UNAUTHORIZED, "invalid_api_key");
        }
        match (&seen.method, rest) {
            (&Method::POST, ["service_accounts", "svc_1", "api_keys"]) => {
                let asked = body(seen);
                let Some(name) = asked["name"].as_str() else {
                    return error(StatusCode::BAD_REQUEST, "missing_required_parameter");
                };
                let key = keys.issue(name, "sk-svcacct-");
                Some((
                    StatusCode::OK,
                    json!({"object": "organization.project.service_account.api_key", "id": key.id, "name": key.name,
                        "value": key.value, "created_at": key.created_at, "expires_at": null}),
                ))
            }
            (&Method::GET, ["api_keys"]) => {
                let (page, has_more) = page(keys.there(), seen, "after");
                let data: Vec<Value> = page
                    .iter()
                    .map(|key| {
                        json!({"object": "organization.project.api_key", "id": key.id, "name": key.name,
                            "redacted_value": redacted(&key.value), "created_at": key.created_at,
                            "last_used_at": key.last_used_at,
                            "owner": {"type": "service_account", "service_account": {
                                "object": "organization.project.service_account", "id": "svc_1",
                                "name": "gateway", "role": "member", "created_at": key.created_at}}})
                    })
                    .collect();
                let id = |key: Option<&&Key>| key.map(|key| key.id.clone());
                let (first, last) = (id(page.first()), id(page.last()));
                Some((
                    StatusCode::OK,
                    json!({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}),
                ))
            }
            (&Method::DELETE, ["api_keys", id]) => {
                let Some(key) = keys.find(id) else { return error(StatusCode::NOT_FOUND, "not_found") };
                key.state = KeyState::Gone;
                Some((
                    StatusCode::OK,
                    json!({"object": "organization.project.api_key.deleted", "id": id, "deleted": true}),
                ))
            }
            _ => {
                let _ = project;
                error(StatusCode::NOT_FOUND, "not_found")
            }
        }
    }
}

impl Administration for AnthropicAdministration {
    fn answer(&self, keys: &mut Keyring, seen: &Seen) -> Answer {
        let path = path(seen);
        let ["v1", "organizations", "api_keys", rest @ ..] = path.as_slice() else { return None };
        if !is_admin(&seen.headers, &self.admin) {
            return error(StatusCode::UNAUTHORIZED, "authentication_error");
        }
        let shown = |key: &Key| {
            let status = if key.state == KeyState::Active { "active" } else { "inactive" };
            json!({"type": "api_key", "id": key.id, "name": key.name, "status": status,
                "partial_key_hint": redacted(&key.value), "created_at": rfc3339(key.created_at),
                "created_by": {"id": "user_1", "type": "user"}, "workspace_id": null, "expires_at": null})
        };
        match (&seen.method, rest) {
            (&Method::GET, []) => {
                let wanted = query(seen, "status");
                let wanted = |key: &&Key| match wanted.as_deref() {
                    None => true,
                    Some("active") => key.state == KeyState::Active,
                    Some("inactive") => key.state == KeyState::Inactive,
                    Some(_) => false,
                };
                let (page, has_more) = page(keys.there().filter(wanted), seen, "after_id");
                let id = |key: Option<&&Key>| key.map(|key| key.id.clone());
                let (first, last) = (id(page.first()), id(page.last()));
                let data: Vec<Value> = page.into_iter().map(shown).collect();
                Some((
                    StatusCode::OK,
                    json!({"data": data, "first_id": first, "last_id": last, "has_more": has_more}),
                ))
            }
            (&Method::GET, [id]) => match keys.find(id) {
                Some(key) => Some((StatusCode::OK, shown(key))),
                None => error(StatusCode::NOT_FOUND, "not_found_error"),
            },
            (&Method::POST, [id]) => {
                let Some(key) = keys.find(id) else { return error(StatusCode::NOT_FOUND, "not_found_error") };
                let asked = body(seen);
                if let Some(name) = asked["name"].as_str() {
                    name.clone_into(&mut key.name);
                }
                key.state = match asked["status"].as_str() {
                    None => key.state,
                    Some("active") => KeyState::Active,
                    Some("inactive") => KeyState::Inactive,
                    Some("archived") => KeyState::Gone,
                    Some(_) => return error(StatusCode::BAD_REQUEST, "invalid_request_error"),
                };
                Some((StatusCode::OK, shown(key)))
            }
            _ => error(StatusCode::NOT_FOUND, "not_found_error"),
        }
    }
}

/// The two keys of an account are those whose names are these.
const SLOTS: [&str; 2] = ["Key1", "Key2"];

impl Administration for AzureAdministration {
    fn answer(&self, keys: &mut Keyring, seen: &Seen) -> Answer {
        let path = path(seen);
        let [
            "subscriptions",
            _,
            "resourceGroups",
            _,
            "providers",
            "Microsoft.CognitiveServices",
            "accounts",
            _,
            action,
        ] = path.as_slice()
        else {
            return None;
        };
        if !is_admin(&seen.headers, &self.token) {
            return error(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken");
        }
        if seen.method != Method::POST || query(seen, "api-version").is_none() {
            return error(StatusCode::BAD_REQUEST, "MissingApiVersionParameter");
        }
        match *action {
            "listKeys" => {}
            "regenerateKey" => {
                let asked = body(seen);
                let Some(name) = SLOTS.into_iter().find(|name| asked["keyName"] == *name) else {
                    return error(StatusCode::BAD_REQUEST, "InvalidKeyName");
                };
                let former: Vec<String> =
                    keys.there().filter(|key| key.name == name).map(|key| key.value.clone()).collect();
                former.iter().for_each(|value| keys.revoke(value));
                keys.issue(name, "");
            }
            _ => return error(StatusCode::NOT_FOUND, "NotFound"),
        }
        let value = |name: &str| keys.there().find(|key| key.name == name).map(|key| key.value.clone());
        Some((StatusCode::OK, json!({"key1": value(SLOTS[0]), "key2": value(SLOTS[1])})))
    }
}

/// Seconds since 1970 as RFC 3339 (the civil date from the day's number, after Howard Hinnant's `civil_from_days`).
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// An administration, to be shared.
pub(super) type Shared = Arc<dyn Administration>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_people_write_it() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_795_132_799), "2026-11-19T23:59:59Z");
    }
}
