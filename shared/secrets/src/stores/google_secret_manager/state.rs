//! What a rotation has to know of a secret, in its annotation `keyturn`, and what is the current version because of it.
//!
//! ```json
//! {"current": {"id": "5f0c…", "number": 8}, "previous": {"id": "7-1763632800000", "number": 7},
//!  "pending": {"id": "9a31…", "number": 3},
//!  "promotion": {"id": "9a31…", "pending": true, "number": 3, "after": 8, "until": "2026-11-20T10:00:45Z", "joined": false},
//!  "lease": {"holder": "…", "until": "2026-11-20T10:15:00Z"},
//!  "rotated": "2026-11-20T10:00:00Z", "discarded": [6], "discarded_pending": [2]}
//! ```
//!
//! It holds names and numbers, never a value. `current` is what was the newest version when it was written. When there
//! is a newer one by now, then either a promotion was carried out and not noted; or the same value was added twice, by
//! a promotion that was repeated; or somebody else has added a version. The values tell which.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PREVIOUS, number};

/// The annotation that is ours.
const OURS: &str = "keyturn";
/// The annotation for tags whose names no annotation can have.
const TAGS: &str = "keyturn-tags";
/// What a tag `keyturn:name` becomes: `keyturn.name`.
const PREFIXES: (&str, &str) = ("keyturn:", "keyturn.");
/// How many numbers are kept whose versions could not be destroyed.
const MOST_DISCARDED: usize = 20;

/// A version that has a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) number: u64,
}

/// A version that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) id: String,
    /// Its number in the secret for pending versions; absent until it has its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) number: Option<u64>,
}

/// Whose turn it is to rotate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    pub(super) holder: String,
    pub(super) until: Timestamp,
}

/// A promotion that somebody carries out, or has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promotion {
    pub(super) id: String,
    /// Where its value is: in the secret for pending versions, or in this one.
    pub(super) pending: bool,
    pub(super) number: u64,
    /// The number of the newest version before it.
    pub(super) after: u64,
    /// From here on nobody adds a version for it any more.
    pub(super) until: Timestamp,
    /// Whether a second one carries it out: then who ends first does not know whether the other one has.
    pub(super) joined: bool,
}

/// What the annotation holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) current: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Made>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) promotion: Option<Promotion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<Turn>,
    /// When a version was promoted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rotated: Option<Timestamp>,
    /// Numbers of versions without a stage, to be destroyed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) discarded: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) discarded_pending: Vec<u64>,
}

impl State {
    /// A version is the current one, and what was current the previous one. A rotation that was under way is over.
    pub(super) fn succeed(&mut self, current: Kept, at: Timestamp) {
        let again = self.current.as_ref().is_some_and(|before| before.id == current.id);
        let before = self.current.replace(current);
        // A second one has promoted it too.
        if again {
            return;
        }
        self.rotated = Some(at);
        self.lease = None;
        self.give_up();
        self.precede(before);
    }

    /// A version is the previous one from now on.
    pub(super) fn precede(&mut self, before: Option<Kept>) {
        let dropped = std::mem::replace(&mut self.previous, before);
        let current = self.current.as_ref().map(|kept| kept.number);
        let previous = self.previous.as_ref().map(|kept| kept.number);
        if let Some(dropped) = dropped
            && ![current, previous].contains(&Some(dropped.number))
        {
            self.discard(&dropped);
        }
    }

    /// Nothing is pending any more.
    pub(super) fn give_up(&mut self) {
        self.discarded_pending.extend(self.pending.take().and_then(|made| made.number));
    }

    /// A version that a rotation has made is not needed any more. What people have made is theirs.
    fn discard(&mut self, kept: &Kept) {
        if numbered(&kept.id).is_none() {
            self.discarded.push(kept.number);
        }
    }

    /// The version with the alias for the previous one. While a promotion is under way it is the one that is replaced,
    /// so that a reader has it from the first moment on.
    fn alias(&self) -> Option<u64> {
        let before = |promotion: &&Promotion| {
            self.current.as_ref().is_some_and(|current| current.number <= promotion.after)
        };
        match self.promotion.as_ref().filter(before) {
            Some(_) => self.current.as_ref().map(|current| current.number),
            None => self.previous.as_ref().map(|previous| previous.number),
        }
    }
}

/// A secret, without its values.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    #[serde(default)]
    pub(super) etag: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    version_aliases: BTreeMap<String, serde_json::Value>,
    /// Where its values are kept.
    pub(super) replication: Option<serde_json::Value>,
    /// What a regional secret's values are encrypted with.
    pub(super) customer_managed_encryption: Option<serde_json::Value>,
}

/// What of a secret is written; the API's update mask names the fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    etag: String,
    annotations: BTreeMap<String, String>,
    version_aliases: BTreeMap<String, serde_json::Value>,
}

/// The fields of an [`Update`].
pub(super) const MASK: &str = "annotations,versionAliases";

impl Metadata {
    /// What our annotation holds, or what is wrong with it.
    pub(super) fn state(&self) -> Result<State, &'static str> {
        match self.annotations.get(OURS) {
            None => Ok(State::default()),
            Some(ours) => serde_json::from_str(ours)
                .map_err(|_| "its annotation `keyturn`, which is reserved, is not what Keyturn writes"),
        }
    }

    /// Its tags: its labels, and its annotations but ours.
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let own = |name: &String| name == OURS || name == TAGS;
        let named = self.labels.iter().chain(self.annotations.iter().filter(|(name, _)| !own(name)));
        let mut tags: BTreeMap<String, String> = named
            .map(|(name, value)| {
                let ours = name.strip_prefix(PREFIXES.1).map(|rest| format!("{}{rest}", PREFIXES.0));
                (ours.unwrap_or_else(|| name.clone()), value.clone())
            })
            .collect();
        tags.extend(odd_tags(&self.annotations));
        tags
    }

    /// What to write for a state and further tags.
    pub(super) fn update(&self, state: &State, more: &BTreeMap<String, String>) -> Option<Update> {
        let mut annotations = self.annotations.clone();
        annotate(&mut annotations, more)?;
        let state = &State {
            discarded: last(&state.discarded),
            discarded_pending: last(&state.discarded_pending),
            ..state.clone()
        };
        annotations.insert(OURS.to_owned(), serde_json::to_string(state).ok()?);
        let mut version_aliases = self.version_aliases.clone();
        match state.alias() {
            Some(number) => _ = version_aliases.insert(PREVIOUS.to_owned(), number.to_string().into()),
            None => _ = version_aliases.remove(PREVIOUS),
        }
        Some(Update { etag: self.etag.clone(), annotations, version_aliases })
    }
}

/// Adds tags to annotations. One whose name no annotation can have goes with its like into one of ours.
pub(super) fn annotate(
    annotations: &mut BTreeMap<String, String>,
    tags: &BTreeMap<String, String>,
) -> Option<()> {
    let mut odd = odd_tags(annotations);
    for (name, value) in tags {
        let ours = name.strip_prefix(PREFIXES.0).map(|rest| format!("{}{rest}", PREFIXES.1));
        let fits = |name: &String| is_annotation(name) && name != OURS && name != TAGS;
        let plain = Some(name.clone()).filter(|name| !name.starts_with(PREFIXES.1));
        match ours.or(plain).filter(fits) {
            Some(name) => _ = annotations.insert(name, value.clone()),
            None => _ = odd.insert(name.clone(), value.clone()),
        }
    }
    if !odd.is_empty() {
        annotations.insert(TAGS.to_owned(), serde_json::to_string(&odd).ok()?);
    }
    Some(())
}

fn odd_tags(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.get(TAGS).and_then(|tags| serde_json::from_str(tags).ok()).unwrap_or_default()
}

/// 1 to 63 letters, digits, dashes, underscores and dots, the first and the last a letter or a digit.
fn is_annotation(name: &str) -> bool {
    let ends = |c: Option<u8>| c.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() <= 63 && name.bytes().all(fits) && ends(name.bytes().next()) && ends(name.bytes().last())
}

fn last(numbers: &[u64]) -> Vec<u64> {
    numbers[numbers.len().saturating_sub(MOST_DISCARDED)..].to_vec()
}

/// A version of a secret, without its value.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    name: String,
    pub(super) create_time: Timestamp,
    #[serde(default)]
    state: String,
}

impl Version {
    pub(super) fn number(&self) -> Option<u64> {
        number(&self.name)
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.state == "ENABLED"
    }

    /// It as one that no rotation has named: by its number and when it was added, because a secret that is deleted and
    /// made anew begins at 1 again.
    pub(super) fn unnamed(&self) -> Option<Kept> {
        let number = self.number()?;
        Some(Kept { id: format!("{number}-{}", self.create_time.as_millisecond()), number })
    }
}

/// The number of a version that no rotation has named.
pub(super) fn numbered(id: &str) -> Option<u64> {
    let (number, millis) = id.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(millis) && digits(number)).then(|| number.parse().ok())?
}
