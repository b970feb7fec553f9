//! The promises about versions and their stages; [`crate::writes`] and [`crate::lists`] have the others.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keyturn_secrets::{
    About, Description, Lease, Secret, SecretError, SecretStore, Stage, StagedStore, VersionId,
};

/// A store, and what its server can be made to do.
#[async_trait]
pub(crate) trait Subject: Sync {
    fn store(&self) -> &dyn StagedStore;

    /// The same store as readers see it.
    fn reader(&self) -> &dyn SecretStore;

    /// A name for a secret of a test, which no other test has.
    fn name(&self, name: &str) -> String;

    /// Deletes a secret in the way that can be undone.
    async fn delete_for_now(&self, name: &str);

    /// Whether the server at hand does what the real one does. moto as it is lets a pending version that has a value
    /// take another one, and forgets a promotion when it writes.
    fn is_exact(&self) -> bool;

    /// The most bytes of a value that are asked for.
    fn longest(&self) -> usize {
        60 * 1024
    }

    /// Whether the version that a reader was told of is this one. A server that numbers its versions may tell readers
    /// its own numbers.
    fn is_version(&self, name: &str, read: &VersionId, version: &VersionId) -> bool {
        let _ = name;
        read == version
    }
}

/// Asks the store of `subject` for all of them.
pub(crate) async fn keeps_its_promises(subject: &dyn Subject) {
    a_rotation(subject).await;
    values_stay(subject).await;
    promotion_has_an_origin(subject).await;
    a_rotation_is_given_up(subject).await;
    any_text(subject).await;
    one_of_two_wins(subject).await;
    what_is_not_there(subject).await;
    crate::writes::keeps_its_promises(subject).await;
    crate::lists::keeps_its_promises(subject).await;
}

/// A version id as rotations have them: 32 to 64 characters.
pub(crate) fn id(name: &str) -> VersionId {
    VersionId::new(&format!("{name:-<36}"))
}

/// The lease of a rotation that begins now.
pub(crate) fn lease() -> Lease {
    let now = Timestamp::now();
    Lease { now, until: now + SignedDuration::from_mins(15) }
}

impl dyn Subject + '_ {
    /// Makes a secret.
    pub(crate) async fn made(&self, name: &str, value: &str) -> (String, VersionId) {
        let name = self.name(name);
        let version = self.store().write(&name, &value.into(), &About::default()).await.unwrap();
        (name, version)
    }

    pub(crate) async fn read(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        self.reader().get(name, stage).await
    }

    /// The value at a stage, if there is one.
    pub(crate) async fn value(&self, name: &str, stage: &Stage) -> Option<String> {
        match self.read(name, stage).await {
            Ok(secret) => Some(secret.value.expose().to_owned()),
            Err(SecretError::NotFound { .. }) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Whether a reader is told of this version.
    pub(crate) async fn reads(&self, name: &str, stage: &Stage, version: &VersionId) -> bool {
        self.is_version(name, &self.read(name, stage).await.unwrap().version, version)
    }

    async fn stage(&self, name: &str, version: &VersionId, value: &str) -> Result<(), SecretError> {
        self.store().stage(name, version, &value.into(), &Stage::Pending, None).await
    }

    pub(crate) async fn describe(&self, name: &str) -> Description {
        self.store().describe(name).await.unwrap()
    }
}

pub(crate) fn is_absent<T>(answer: Result<T, SecretError>) -> bool {
    answer.err().is_some_and(|error| matches!(error, SecretError::NotFound { .. }))
}

pub(crate) fn is_conflict<T>(answer: Result<T, SecretError>) -> bool {
    answer.err().is_some_and(|error| matches!(error, SecretError::Conflict { .. }))
}

/// Every call is made twice.
async fn a_rotation(subject: &dyn Subject) {
    let store = subject.store();
    let before = Timestamp::now();
    let (name, first) = subject.made("rotation", "one").await;
    let described = subject.describe(&name).await;
    assert_eq!(described.at(&Stage::Current), Some(&first));
    assert_eq!((described.at(&Stage::Pending), described.at(&Stage::Previous)), (None, None));
    // The servers tell whole seconds, or more exactly.
    let since = described.current_since.unwrap();
    assert!(since >= before - SignedDuration::from_secs(1), "{since} {before}");

    let next = id("next");
    for _ in 0..2 {
        assert_eq!(store.begin(&name, &next, "me", lease()).await.unwrap(), next);
        assert!(is_absent(store.version(&name, &next).await));
        assert_eq!(subject.value(&name, &Stage::Pending).await, None);
    }
    for _ in 0..2 {
        subject.stage(&name, &next, "two").await.unwrap();
        assert_eq!(store.version(&name, &next).await.unwrap().value.expose(), "two");
        assert_eq!(store.version(&name, &first).await.unwrap().value.expose(), "one");
        // Whoever begins now goes on with it.
        assert_eq!(store.begin(&name, &id("another"), "me", lease()).await.unwrap(), next);
        assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
        assert_eq!(subject.value(&name, &Stage::Pending).await.unwrap(), "two");
        let described = subject.describe(&name).await;
        assert_eq!(described.at(&Stage::Current), Some(&first));
        assert!(described.has(&next, &Stage::Pending));
    }
    let promoted = Timestamp::now();
    for _ in 0..2 {
        store.promote(&name, &next, &first).await.unwrap();
        let (current, previous) =
            (subject.read(&name, &Stage::Current).await, subject.read(&name, &Stage::Previous).await);
        let (current, previous) = (current.unwrap(), previous.unwrap());
        assert_eq!((current.value.expose(), previous.value.expose()), ("two", "one"));
        assert!(subject.is_version(&name, &current.version, &next), "{}", current.version);
        assert!(subject.is_version(&name, &previous.version, &first), "{}", previous.version);
        let described = subject.describe(&name).await;
        assert!(described.has(&next, &Stage::Current) && described.has(&first, &Stage::Previous));
        // Known by itself, or when somebody has told it.
        assert!(described.current_since.is_none_or(|since| since >= promoted), "{described:?}");
        assert_eq!(store.version(&name, &first).await.unwrap().value.expose(), "one");
    }
    let seen = Timestamp::now();
    store.mark_current(&name, &next, seen).await.unwrap();
    // It may have gone with the promotion.
    let pending = subject.describe(&name).await.has(&next, &Stage::Pending);
    for again in [false, true] {
        let taken_off = store.unstage(&name, &next, &Stage::Pending).await;
        assert_eq!(is_conflict(taken_off), again || !pending);
        let described = subject.describe(&name).await;
        assert_eq!(described.at(&Stage::Pending), None);
        let since = described.current_since.unwrap();
        // To the second, again.
        let latest = seen + SignedDuration::from_secs(1);
        assert!(promoted <= since && since <= latest, "{promoted} {since} {seen}");
    }
    // Steps of a rotation that is over change nothing.
    subject.stage(&name, &next, "two").await.unwrap();
    assert_eq!(store.begin(&name, &next, "me", lease()).await.unwrap(), next);
    assert_eq!(subject.describe(&name).await.at(&Stage::Pending), None);
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");

    // And the next one.
    let third = id("third");
    assert_eq!(store.begin(&name, &third, "somebody", lease()).await.unwrap(), third);
    subject.stage(&name, &third, "three").await.unwrap();
    store.promote(&name, &third, &next).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "three");
    assert!(subject.reads(&name, &Stage::Previous, &next).await);
    for again in [false, true] {
        assert_eq!(is_conflict(store.unstage(&name, &next, &Stage::Previous).await), again);
        assert_eq!(subject.value(&name, &Stage::Previous).await, None);
    }
    if subject.is_exact() {
        store.write(&name, &"four".into(), &About::default()).await.unwrap();
        assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "four");
        assert!(subject.reads(&name, &Stage::Previous, &third).await);
    }
}

async fn values_stay(subject: &dyn Subject) {
    let (name, first) = subject.made("values", "one").await;
    assert!(is_conflict(subject.stage(&name, &first, "other").await));
    // A version that is current is not pending any more.
    subject.stage(&name, &first, "one").await.unwrap();
    assert_eq!(subject.describe(&name).await.at(&Stage::Pending), None);
    if subject.is_exact() {
        let next = id("next");
        subject.stage(&name, &next, "two").await.unwrap();
        assert!(is_conflict(subject.stage(&name, &next, "other").await));
        assert_eq!(subject.value(&name, &Stage::Pending).await.unwrap(), "two");
    }
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
}

async fn promotion_has_an_origin(subject: &dyn Subject) {
    let store = subject.store();
    let (name, first) = subject.made("origin", "one").await;
    let (next, third) = (id("next"), id("third"));
    assert!(is_absent(store.promote(&name, &next, &first).await));
    store.begin(&name, &next, "me", lease()).await.unwrap();
    assert!(is_absent(store.promote(&name, &next, &first).await), "a version without a value");
    subject.stage(&name, &next, "two").await.unwrap();
    assert!(is_conflict(store.promote(&name, &next, &third).await));
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
    store.promote(&name, &next, &first).await.unwrap();
    subject.stage(&name, &third, "three").await.unwrap();
    assert!(is_conflict(store.promote(&name, &third, &first).await));
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "two");
    // Back to the version before.
    store.promote(&name, &first, &next).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
    assert_eq!(subject.value(&name, &Stage::Previous).await.unwrap(), "two");
}

async fn a_rotation_is_given_up(subject: &dyn Subject) {
    let store = subject.store();
    let (name, first) = subject.made("given-up", "one").await;
    let next = id("next");
    subject.stage(&name, &next, "two").await.unwrap();
    assert!(is_conflict(store.unstage(&name, &id("another"), &Stage::Pending).await));
    assert_eq!(subject.value(&name, &Stage::Pending).await.unwrap(), "two");
    for again in [false, true] {
        assert_eq!(is_conflict(store.unstage(&name, &next, &Stage::Pending).await), again);
        assert_eq!(subject.value(&name, &Stage::Pending).await, None);
    }
    store.unstage(&name, &first, &Stage::Current).await.unwrap_err();
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "one");
    let third = id("third");
    assert_eq!(store.begin(&name, &third, "somebody", lease()).await.unwrap(), third);
    let begun = subject.describe(&name).await.has(&third, &Stage::Pending);
    assert_eq!(is_conflict(store.unstage(&name, &third, &Stage::Pending).await), !begun);
    // It may come back.
    for _ in 0..2 {
        subject.stage(&name, &next, "two").await.unwrap();
        assert_eq!(subject.read(&name, &Stage::Pending).await.unwrap().version, next);
    }
}

async fn any_text(subject: &dyn Subject) {
    let long = "é".repeat(subject.longest() / 2);
    let object = r#"{"key": "inner", "N": 1.50}"#;
    for (name, text) in [("odd", "schlüssel 🔑 \"'\\ $X\n="), ("long", &long), ("object", object)] {
        let (name, first) = subject.made(name, text).await;
        assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), text);
        let (next, changed) = (id("next"), format!("{text} "));
        subject.stage(&name, &next, &changed).await.unwrap();
        subject.store().promote(&name, &next, &first).await.unwrap();
        assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), changed);
        assert_eq!(subject.value(&name, &Stage::Previous).await.unwrap(), text);
    }
    assert!(subject.store().write(&subject.name("empty"), &"".into(), &About::default()).await.is_err());
}

/// Each of several stages a version of its own and promotes it: exactly one becomes current.
async fn one_of_two_wins(subject: &dyn Subject) {
    let (name, first) = subject.made("two", "one").await;
    let writers = (0..4).map(|number| {
        let (name, first) = (&name, &first);
        async move {
            let (version, value) = (id(&format!("writer{number}")), format!("value{number}"));
            subject.stage(name, &version, &value).await?;
            subject.store().promote(name, &version, first).await?;
            Ok::<_, SecretError>(value)
        }
    });
    let outcomes = futures_util::future::join_all(writers).await;
    let mut winners = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(value) => winners.push(value),
            Err(SecretError::Conflict { .. } | SecretError::NotFound { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), winners[0]);
    assert_eq!(subject.value(&name, &Stage::Previous).await.unwrap(), "one");
}

async fn what_is_not_there(subject: &dyn Subject) {
    let (store, name) = (subject.store(), subject.name("absent"));
    let (one, two) = (id("one"), id("two"));
    let error = store.describe(&name).await.unwrap_err();
    let SecretError::NotFound { reference, .. } = error else { panic!("{error:?}") };
    assert_eq!(reference, format!("{}:{name}", store.scheme()));
    assert!(is_absent(store.version(&name, &one).await));
    assert!(is_absent(store.begin(&name, &one, "me", lease()).await));
    assert!(is_absent(subject.stage(&name, &one, "x").await));
    assert!(is_absent(store.promote(&name, &one, &two).await));
    assert!(is_absent(store.unstage(&name, &one, &Stage::Pending).await));
    let (name, _) = subject.made("present", "x").await;
    assert!(is_absent(store.version(&name, &one).await));
}
