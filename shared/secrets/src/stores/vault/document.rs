//! A document in Vault: its fields, which are the current version, and the field `keyturn`, which is what a rotation
//! has to know:
//!
//! ```json
//! {"key": "sk-new", "keyturn": {
//!     "written": 8, "version": "5f0c…", "since": "2026-11-20T10:00:00Z", "promoted": 8,
//!     "previous": {"version": "kv-5-1763632800000", "fields": {"key": "sk-old"}},
//!     "pending": {"version": "9a31…", "fields": {"key": "sk-next"}},
//!     "lease": {"holder": "…", "until": "2026-11-20T10:15:00Z"},
//!     "rotated": "2026-11-20T10:00:00Z"}}
//! ```
//!
//! `written` is the number that Vault gave to the document with this field in it. When the document has another
//! number, somebody else has written it since (`vault kv put`, `patch`, `rollback`), and then what is here is of an
//! earlier document: the current version has a name of its own, and a rotation that was under way is over, because
//! its new value was made from fields that are no longer current; to promote it would undo the other's change. Whose
//! turn it is and what came before is still so.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyturn_vault::Document;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Secret, SecretValue, VersionId};

/// The field that is ours.
const OURS: &str = "keyturn";

/// LiteLLM's field for a secret that is one text.
const KEY: &str = "key";

/// The fields of a version.
pub(super) type Fields = Map<String, Value>;

/// What stands in our field. It holds values, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct State {
    /// Vault's number of the document that it was written with.
    pub(super) written: u64,
    /// The current version.
    pub(super) version: String,
    /// Since when it is current, or later.
    pub(super) since: Timestamp,
    /// Vault's number of the document in which it became current.
    pub(super) promoted: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Made>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<Turn>,
    /// When a version was promoted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rotated: Option<Timestamp>,
}

/// A version that was current.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) version: String,
    pub(super) fields: Fields,
}

/// A version that is being made.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) version: String,
    /// Absent until it has its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fields: Option<Fields>,
}

/// Whose turn it is to rotate.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) holder: String,
    pub(super) until: Timestamp,
}

/// A document as it was read.
pub(super) struct Loaded {
    /// The current version's fields.
    pub(super) fields: Fields,
    /// What stands in our field, or would.
    pub(super) state: State,
    /// Vault's number of the document.
    pub(super) number: u64,
    /// What is noted beside the document.
    pub(super) notes: BTreeMap<String, String>,
}

impl Loaded {
    /// Takes a document apart, or tells what is wrong with it, without any of it.
    pub(super) fn new(document: Document) -> Result<Self, &'static str> {
        let Document { data: Value::Object(mut fields), version: number, created, notes } = document else {
            return Err("the document is no JSON object");
        };
        let foreign = || State {
            written: number,
            version: unnamed(number, created),
            since: created,
            promoted: number,
            previous: None,
            pending: None,
            lease: None,
            rotated: None,
        };
        let state = match fields.remove(OURS) {
            None => foreign(),
            Some(ours) => {
                let ours: State = serde_json::from_value(ours)
                    .map_err(|_| "its field `keyturn`, which is reserved, is not what Keyturn writes")?;
                if ours.written == number {
                    // By the clock of the server, it was written no earlier than this.
                    let since = if ours.promoted == number { ours.since.max(created) } else { ours.since };
                    State { since, ..ours }
                } else {
                    let State { previous, lease, rotated, .. } = ours;
                    State { previous, lease, rotated, ..foreign() }
                }
            }
        };
        Ok(Self { fields, state, number, notes })
    }

    /// The fields of a version, if they are there.
    pub(super) fn fields_of(&self, version: &str) -> Option<&Fields> {
        let State { version: current, previous, pending, .. } = &self.state;
        if current == version {
            return Some(&self.fields);
        }
        let pending = pending.as_ref().filter(|made| made.version == version);
        let previous = previous.as_ref().filter(|kept| kept.version == version);
        pending.and_then(|made| made.fields.as_ref()).or_else(|| previous.map(|kept| &kept.fields))
    }

    /// The version that is made current in the place of the present one, which becomes the previous one. A rotation
    /// that is under way is over.
    pub(super) fn succeed(self, version: &str, fields: Fields, now: Timestamp) -> (Fields, State) {
        let state = State {
            written: self.number,
            version: version.to_owned(),
            since: now,
            promoted: self.number + 1,
            previous: Some(Kept { version: self.state.version, fields: self.fields }),
            pending: None,
            lease: None,
            rotated: self.state.rotated,
        };
        (fields, state)
    }
}

/// The name of a version that no rotation has named: Vault's number of the document, and when it was written, because
/// a document that is deleted for good and made anew begins at 1 again.
pub(super) fn unnamed(number: u64, written: Timestamp) -> String {
    format!("kv-{number}-{}", written.as_millisecond())
}

/// A document from its parts, to be written after the one with this number.
pub(super) fn whole(mut fields: Fields, state: State, after: u64) -> Result<Value, serde_json::Error> {
    fields.insert(OURS.to_owned(), serde_json::to_value(State { written: after + 1, ..state })?);
    Ok(Value::Object(fields))
}

/// A document without our field.
pub(super) fn plain(fields: Fields) -> Value {
    Value::Object(fields)
}

/// A version with its value, or what is wrong with it.
pub(super) fn secret(version: &str, fields: &Fields) -> Result<Secret, &'static str> {
    let value = match only_text(fields) {
        Some("") => return Err("empty"),
        Some(text) => SecretValue::of_only_field(KEY, text.into()),
        None if fields.is_empty() => return Err("the document has no fields"),
        None => serde_json::to_string(fields).map_err(|_| "not to be written as JSON")?.into(),
    };
    Ok(Secret::new(value, VersionId::new(version)))
}

/// The fields for a new value, in the shape of those that it succeeds: a document of one text stays one, and every
/// other one takes a JSON object. A new document is one text.
pub(super) fn fields(value: &SecretString, like: Option<&Fields>) -> Result<Fields, &'static str> {
    let text = value.expose_secret();
    if text.is_empty() {
        return Err("empty");
    }
    if like.is_none_or(|like| only_text(like).is_some()) {
        return Ok(Map::from_iter([(KEY.to_owned(), Value::from(text))]));
    }
    let fields: Fields = serde_json::from_str(text)
        .map_err(|_| "the document has several fields, so its new value must be a JSON object")?;
    if fields.is_empty() || fields.contains_key(OURS) {
        return Err("the new value has no fields, or one named `keyturn`, which is reserved");
    }
    Ok(fields)
}

/// The text of a document that has nothing but LiteLLM's field.
fn only_text(fields: &Fields) -> Option<&str> {
    fields.get(KEY).filter(|_| fields.len() == 1)?.as_str()
}
