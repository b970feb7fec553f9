//! The promises about whole secrets.

use std::collections::BTreeMap;

use keyturn_secrets::{About, Stage};

use crate::promises::{Subject, id, is_absent};

pub(crate) async fn keeps_its_promises(subject: &dyn Subject) {
    made_and_written_over(subject).await;
    restored(subject).await;
    removed(subject).await;
    tagged(subject).await;
}

async fn made_and_written_over(subject: &dyn Subject) {
    let store = subject.store();
    let (name, first) = subject.made("written", "one").await;
    let read = subject.read(&name, &Stage::Current).await.unwrap();
    assert!(read.value.expose() == "one" && subject.is_version(&name, &read.version, &first), "{read:?}");
    assert_eq!(subject.value(&name, &Stage::Previous).await, None);
    let second = store.write(&name, &"two".into(), &About::default()).await.unwrap();
    assert_ne!(first, second);
    let read = subject.read(&name, &Stage::Current).await.unwrap();
    assert!(read.value.expose() == "two" && subject.is_version(&name, &read.version, &second), "{read:?}");
    let previous = subject.read(&name, &Stage::Previous).await.unwrap();
    assert_eq!(previous.value.expose(), "one");
    assert!(subject.is_version(&name, &previous.version, &first), "{}", previous.version);
    assert_eq!(subject.describe(&name).await.name, name);
}

async fn restored(subject: &dyn Subject) {
    let (name, first) = subject.made("restored", "one").await;
    subject.delete_for_now(&name).await;
    assert!(is_absent(subject.read(&name, &Stage::Current).await));
    assert!(is_absent(subject.store().describe(&name).await));
    let second = subject.store().write(&name, &"two".into(), &About::default()).await.unwrap();
    assert_ne!(first, second);
    let read = subject.read(&name, &Stage::Current).await.unwrap();
    assert!(read.value.expose() == "two" && subject.is_version(&name, &read.version, &second), "{read:?}");
    assert!(subject.describe(&name).await.has(&second, &Stage::Current));
}

async fn removed(subject: &dyn Subject) {
    let store = subject.store();
    let (name, first) = subject.made("removed", "one").await;
    store.stage(&name, &id("next"), &"two".into(), &Stage::Pending, None).await.unwrap();
    for _ in 0..2 {
        store.remove(&name).await.unwrap();
        assert!(is_absent(subject.read(&name, &Stage::Current).await));
    }
    let second = store.write(&name, &"three".into(), &About::default()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "three");
    assert_eq!(subject.value(&name, &Stage::Pending).await, None);
    subject.delete_for_now(&name).await;
    store.remove(&name).await.unwrap();
    store.write(&name, &"four".into(), &About::default()).await.unwrap();
    assert_eq!(subject.value(&name, &Stage::Previous).await, None);
}

async fn tagged(subject: &dyn Subject) {
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let store = subject.store();
    let name = subject.name("tagged");
    let about = About { tags: tags(&[("team", "a"), ("ü", "ö")]), ..About::default() };
    store.write(&name, &"one".into(), &about).await.unwrap();
    assert_eq!(subject.describe(&name).await.tags, about.tags);
    let about = About { tags: tags(&[("team", "b"), ("more", "c")]), ..About::default() };
    store.write(&name, &"two".into(), &about).await.unwrap();
    let expected = tags(&[("team", "b"), ("ü", "ö"), ("more", "c")]);
    assert_eq!(subject.describe(&name).await.tags, expected);
    store.write(&name, &"three".into(), &About::default()).await.unwrap();
    assert_eq!(subject.describe(&name).await.tags, expected);
}
