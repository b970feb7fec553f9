//! What there is: the secret's versions, its settings, and what each version holds.

use keyturn_secrets::{Description, SecretError, Stage, StagedStore, VersionId};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Engine, Rotation, Step};
use crate::settings::{self, RECORD, Target};
use crate::{Credential, Diagnostic, Document, RotationError, Rotator};

/// A secret, and what is said of it when something fails.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) store: &'a dyn StagedStore,
    pub(super) name: &'a str,
}

pub(super) fn place<'a>(store: &'a dyn StagedStore, name: &'a str) -> Place<'a> {
    Place { store, name }
}

impl Place<'_> {
    fn reference(&self) -> String {
        format!("{}:{}", self.store.scheme(), self.name)
    }

    /// A failure in our own words, and the next move.
    pub(super) fn wrong(
        &self,
        step: Option<Step>,
        problem: impl Into<String>,
        next: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            secret: self.reference(),
            step,
            field: None,
            problem: problem.into(),
            next: next.into(),
            source: None,
        }
    }

    /// A failure of a store or a rotator.
    pub(super) fn failed(&self, step: Option<Step>, field: Option<&str>, error: RotationError) -> Diagnostic {
        Diagnostic {
            secret: self.reference(),
            step,
            field: field.map(str::to_owned),
            problem: "the rotation cannot go on".to_owned(),
            next: next_move(step, &error),
            source: Some(Box::new(error)),
        }
    }
}

/// What to do about a failure.
fn next_move(step: Option<Step>, error: &RotationError) -> String {
    match error {
        RotationError::Refused(_) if step == Some(Step::Test) => {
            "look at the new credential at the service; if it is lost, run `keyturn rotation abandon` and rotate again. \
             The former credential still works"
        }
        RotationError::Refused(_) => "check the credential that the secret holds",
        RotationError::Denied(_) => {
            "check the administrator's credential in the settings, and the permissions that docs/rotation.md lists"
        }
        RotationError::Full(_) => "make room at the service, or give it a further credential, then rotate again",
        RotationError::Unavailable(_) | RotationError::Secret(SecretError::Unavailable { .. }) => {
            "nothing, if it is tried again by itself: every step may be repeated"
        }
        RotationError::Malformed(_) => "look at the service's status, then try again",
        RotationError::Unfit(_) => "correct the secret or the settings beside it",
        RotationError::Secret(SecretError::Denied { .. }) => "give the function's role the permission",
        RotationError::Secret(SecretError::Conflict { .. }) => {
            "look who else changes the secret (`keyturn rotation status`), then try again"
        }
        RotationError::Secret(_) => "check that the secret is there and readable",
        RotationError::Keys(_) => "look at the key table, then try again",
    }
    .to_owned()
}

/// A secret as it was at one moment.
pub(super) struct Seen {
    pub(super) description: Description,
    pub(super) current: (VersionId, Document),
    pub(super) targets: Vec<Opened>,
}

impl Seen {
    /// The target with a field; where there is only one, that, unless it has another field.
    pub(super) fn target(&self, field: Option<&str>) -> Option<&Opened> {
        match self.targets.as_slice() {
            [one] => Some(one).filter(|one| {
                let own = one.target.field.as_deref();
                field.is_none() || own.is_none() || own == field
            }),
            several => several.iter().find(|opened| opened.target.field.as_deref() == field),
        }
    }

    /// The target to rotate: the one with that field, else the one that was replaced longest ago; one that never was
    /// comes first.
    pub(super) fn next(&self, field: Option<&str>) -> Option<&Opened> {
        if field.is_some() {
            return self.target(field);
        }
        self.targets.iter().min_by_key(|opened| {
            let field = opened.target.field.as_deref();
            (replaced_at(&self.current.1, field), field)
        })
    }

    /// The only target's or this one's name for people: nothing where there is no choice.
    pub(super) fn told(&self, opened: &Opened) -> Option<String> {
        (self.targets.len() > 1).then(|| opened.target.field.clone()).flatten()
    }
}

/// A target, and its rotator.
pub(super) struct Opened {
    pub(super) target: Target,
    pub(super) rotator: Box<dyn Rotator>,
    /// What the names of its credentials begin with at the service.
    pub(super) prefix: String,
}

impl Opened {
    /// Its credential in a version; parts that are missing are missing.
    pub(super) fn credential(&self, document: &Document) -> Credential {
        let mut credential = Credential::default();
        for (part, field) in self.fields(document) {
            if let Some(value) = document.text(field.as_deref()) {
                credential = credential.with(part, value);
            }
        }
        credential
    }

    /// Puts its credential into a document.
    pub(super) fn put(&self, credential: &Credential, document: &mut Document) -> Result<(), RotationError> {
        for (part, field) in self.fields(document) {
            document.set_text(field.as_deref(), credential.part(part)?)?;
        }
        Ok(())
    }

    /// Where its parts are. A secret that is one text has only a first part.
    fn fields(&self, document: &Document) -> Vec<(&'static str, Option<String>)> {
        let is_text = document.fields().is_none();
        let parts = self.rotator.parts().iter().enumerate();
        parts
            .filter(|(at, _)| *at == 0 || !is_text)
            .map(|(at, part)| {
                let field = if is_text { None } else { self.target.field_of(part, at == 0) };
                (part.name, field)
            })
            .collect()
    }

    /// Whether the secret has a place for every part.
    pub(super) fn fits(&self, document: &Document) -> Result<(), RotationError> {
        let unfit = |what: String| Err(RotationError::Unfit(what));
        let parts = self.rotator.parts();
        if document.fields().is_none() {
            return match (&self.target.field, parts) {
                (None, [_]) => Ok(()),
                (None, _) => {
                    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
                    unfit(format!(
                        "the secret must be a JSON object: its credential has {}",
                        names.join(" and ")
                    ))
                }
                (Some(_), _) => unfit("keyturn:field is set, and the secret is no JSON object".to_owned()),
            };
        }
        for (name, field) in self.fields(document) {
            if field.is_none() {
                return unfit(format!("keyturn:field must say which field of the secret holds the {name}"));
            }
        }
        Ok(())
    }
}

/// What the engine notes in a JSON secret about the rotation that made a version.
pub(super) struct Record {
    /// The rotation's token.
    pub(super) token: String,
    /// The version that it began from.
    pub(super) base: String,
    /// The field that it replaces.
    pub(super) field: Option<String>,
}

impl Record {
    pub(super) fn of(document: &Document) -> Option<Self> {
        let record = document.json(RECORD)?;
        let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self { token: text("token")?, base: text("base")?, field: text("field") })
    }

    /// Writes it, and when this field was replaced. A secret that is one text has no place for it.
    pub(super) fn write(&self, document: &mut Document, now: jiff::Timestamp) -> Result<(), RotationError> {
        if document.fields().is_none() {
            return Ok(());
        }
        let mut at = document.json(RECORD).and_then(|record| record.get("at")).cloned().unwrap_or_default();
        if !at.is_object() {
            at = Value::Object(serde_json::Map::new());
        }
        if let Value::Object(at) = &mut at {
            at.insert(self.field.clone().unwrap_or_default(), Value::String(now.to_string()));
        }
        let record =
            serde_json::json!({"token": self.token, "base": self.base, "field": self.field, "at": at});
        Ok(document.set_json(RECORD, Some(record))?)
    }
}

/// When a field was replaced last.
pub(super) fn replaced_at(document: &Document, field: Option<&str>) -> Option<jiff::Timestamp> {
    document.json(RECORD)?.get("at")?.get(field.unwrap_or_default())?.as_str()?.parse().ok()
}

impl Engine {
    /// How long a target's former credential goes on working.
    pub(super) fn overlap(&self, opened: &Opened) -> jiff::SignedDuration {
        opened.target.overlap.unwrap_or(self.options.overlap)
    }

    /// Looks at a secret that is rotated.
    pub(super) async fn look_rotated(
        &self,
        place: Place<'_>,
        step: Option<Step>,
    ) -> Result<Seen, Diagnostic> {
        let seen = self.look(place, step).await?;
        if seen.targets.is_empty() {
            return Err(place.wrong(
                step,
                "nothing says how it is rotated",
                "give the secret the tag or field keyturn:rotator (docs/rotation.md)",
            ));
        }
        Ok(seen)
    }

    /// Looks at a secret.
    pub(super) async fn look(&self, place: Place<'_>, step: Option<Step>) -> Result<Seen, Diagnostic> {
        let description = place.store.describe(place.name).await;
        let description = description.map_err(|error| place.failed(step, None, error.into()))?;
        let Some(current) = description.at(&Stage::Current).cloned() else {
            return Err(place.wrong(step, "no version is the current one", "write a value to the secret"));
        };
        let document = self.read(place, step, &current).await?;
        let targets = settings::targets(&document, &description.tags)
            .map_err(|error| place.failed(step, None, RotationError::Unfit(error.to_string())))?;
        let mut opened = Vec::with_capacity(targets.len());
        for target in targets {
            let rotator = self.rotators.open(&target.rotator, target.settings.clone(), &self.tools);
            let rotator =
                rotator.map_err(|error| place.failed(step, None, RotationError::Unfit(error.to_string())))?;
            let prefix = prefix(place.store.scheme(), &description.name, target.field.as_deref());
            opened.push(Opened { target, rotator, prefix });
        }
        Ok(Seen { description, current: (current, document), targets: opened })
    }

    /// Since when the current version has been current. Where that is not known, it is noted to be now.
    pub(super) async fn since(
        &self,
        place: Place<'_>,
        description: &Description,
        current: &VersionId,
    ) -> Result<jiff::Timestamp, RotationError> {
        match description.current_since {
            Some(since) => Ok(since),
            None => {
                let now = self.tools.now();
                place.store.mark_current(place.name, current, now).await?;
                Ok(now)
            }
        }
    }

    /// Reads a version that must have a value, with patience: what was just written may not be readable yet.
    pub(super) async fn read(
        &self,
        place: Place<'_>,
        step: Option<Step>,
        version: &VersionId,
    ) -> Result<Document, Diagnostic> {
        let mut waits = self.options.waits.iter().take(3);
        loop {
            match place.store.version(place.name, version).await {
                Ok(secret) => {
                    return Document::parse(&secret.value)
                        .map_err(|wrong| place.failed(step, None, wrong.into()));
                }
                Err(error @ (SecretError::NotFound { .. } | SecretError::Unavailable { .. })) => {
                    match waits.next() {
                        Some(wait) => tokio::time::sleep(*wait).await,
                        None => return Err(place.failed(step, None, error.into())),
                    }
                }
                Err(error) => return Err(place.failed(step, None, error.into())),
            }
        }
    }

    /// Whether the step has still to be done: `false` when the version is the current one already, or its field is
    /// in the current one.
    pub(super) fn is_open(
        &self,
        rotation: &Rotation<'_>,
        step: Step,
        seen: &Seen,
    ) -> Result<bool, Diagnostic> {
        let place = place(rotation.store, rotation.name);
        let description = &seen.description;
        let merged =
            Record::of(&seen.current.1).is_some_and(|record| record.token == rotation.token.as_str());
        if description.has(&rotation.token, &Stage::Current) || merged {
            return Ok(false);
        }
        let wrong = |problem, next| Err(place.wrong(Some(step), problem, next));
        if rotation.led && description.rotation_enabled != Some(true) {
            return wrong("rotation is not enabled for it", "give the secret a rotation schedule");
        }
        let known = description.versions.contains_key(&rotation.token);
        if !known && (rotation.led || step != Step::Create) {
            return wrong("the version to rotate to is not known", "start a new rotation");
        }
        if known && !description.has(&rotation.token, &Stage::Pending) {
            return wrong(
                "the version to rotate to is not pending: somebody moved its stage, or another rotation took over",
                "look at `keyturn rotation status`, then start a new rotation",
            );
        }
        Ok(true)
    }
}

/// What the names of a secret's credentials begin with at the service: stable, and short. Whoever can list the names
/// learns nothing of the secret's.
fn prefix(scheme: &str, name: &str, field: Option<&str>) -> String {
    let place = format!("{scheme}:{name}#{}", field.unwrap_or_default());
    format!("keyturn-{}-", hex::encode(&Sha256::digest(place.as_bytes())[..4]))
}
