//! What is left of a change that was cut off, made twice, or told of late; and several who change at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyturn_secrets::{About, SecretError, Stage, StagedStore};
use keyturn_tests::google::Fate;
use serde_json::Value;

use super::{Server, is_write, whole};
use crate::promises::{Subject, id, is_absent, is_conflict, lease};

/// One rotation, of which one write is cut off or its answer lost; then every step again.
#[tokio::test]
async fn a_rotation_that_is_cut_off_anywhere_may_be_repeated() {
    for fate in [Fate::Cut, Fate::Lost] {
        for number in 0.. {
            let server = Server::start().await;
            let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
            let (name, first) = subject.made("cut", "one").await;
            let next = id("next");
            server.at(number, fate);
            let run = || async {
                store.begin(&name, &next, "me", lease()).await?;
                server.stage(&name, &next, "two").await?;
                store.promote(&name, &next, &first).await
            };
            let outcome = run().await;
            server.google.judge(|_| Fate::Through);
            let seen = subject.value(&name, &Stage::Current).await.unwrap();
            assert!(["one", "two"].contains(&seen.as_str()) && seen == server.latest(&name));
            match &outcome {
                Ok(()) => assert!(number >= 5, "fewer writes than a rotation has: {number}"),
                Err(error) => {
                    assert!(matches!(error, SecretError::Unavailable { .. }), "{number}: {error:?}");
                }
            }
            run().await.unwrap();
            let described = subject.describe(&name).await;
            let stages =
                [Stage::Current, Stage::Previous, Stage::Pending].map(|stage| described.at(&stage).cloned());
            assert_eq!(stages, [Some(next.clone()), Some(first.clone()), None], "{fate:?} {number}");
            assert_eq!(server.latest(&name), "two");
            assert_eq!(subject.value(&name, &Stage::Previous).await.unwrap(), "one");
            // And the next one, as soon as nobody can be at work on this one any more.
            server.clock.advance(Duration::from_secs(61));
            server.stage(&name, &id("third"), "three").await.unwrap();
            store.promote(&name, &id("third"), &next).await.unwrap();
            assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), "three");
            assert_eq!(subject.value(&name, &Stage::Previous).await.unwrap(), "two");
            if outcome.is_ok() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn writing_and_removing_may_be_repeated() {
    for fate in [Fate::Cut, Fate::Lost] {
        for number in 0..2 {
            let server = Server::start().await;
            let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
            let name = subject.name("written");
            for value in ["one", "two"] {
                server.at(number, fate);
                let about =
                    About { tags: [("team".to_owned(), value.to_owned())].into(), ..About::default() };
                let error = store.write(&name, &value.into(), &about).await.unwrap_err();
                assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
                server.google.judge(|_| Fate::Through);
                let version = store.write(&name, &value.into(), &about).await.unwrap();
                let described = subject.describe(&name).await;
                assert_eq!(
                    (described.at(&Stage::Current), &*described.tags["team"]),
                    (Some(&version), value)
                );
                assert_eq!(server.latest(&name), value);
            }
            server.once(fate);
            store.remove(&name).await.unwrap_err();
            server.google.judge(|_| Fate::Through);
            store.remove(&name).await.unwrap();
            assert!(is_absent(subject.read(&name, &Stage::Current).await));
        }
    }
}

#[tokio::test]
async fn two_that_promote_the_same_version_make_it_current_once() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("twice", "one").await;
    let (next, third) = (id("next"), id("third"));
    server.stage(&name, &next, "two").await.unwrap();
    let promotions = (0..3).map(|_| store.promote(&name, &next, &first));
    for outcome in futures_util::future::join_all(promotions).await {
        assert!(outcome.is_ok() || is_conflict(outcome.clone()), "{outcome:?}");
    }
    let described = subject.describe(&name).await;
    assert_eq!((described.at(&Stage::Current), described.at(&Stage::Previous)), (Some(&next), Some(&first)));
    // Until none of them can add its version any more, nobody promotes another one.
    server.google.secrets().add(&whole(&name), b"two");
    server.stage(&name, &third, "three").await.unwrap();
    if server.noted(&name)["promotion"] != Value::Null {
        assert!(is_conflict(store.promote(&name, &third, &next).await));
    }
    server.clock.advance(Duration::from_secs(61));
    store.promote(&name, &third, &next).await.unwrap();
    assert_eq!(server.latest(&name), "three");
}

#[tokio::test]
async fn a_promotion_that_was_asleep_adds_nothing() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("asleep", "one").await;
    server.stage(&name, &id("next"), "two").await.unwrap();
    let clock = Arc::clone(&server.clock);
    let pending = format!("{name}--keyturn-pending");
    server.google.judge(move |asked| {
        // The laptop is closed between the announcement and the version.
        if asked.path.contains(&pending) && asked.path.ends_with(":access") {
            clock.advance(Duration::from_secs(50));
        }
        Fate::Through
    });
    let error = store.promote(&name, &id("next"), &first).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    assert_eq!(server.latest(&name), "one");
    server.google.judge(|_| Fate::Through);
    store.promote(&name, &id("next"), &first).await.unwrap();
    assert_eq!(server.latest(&name), "two");
}

#[tokio::test]
async fn what_the_service_tells_late_changes_nothing() {
    let server = Server::start().await;
    let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
    let (name, first) = subject.made("late", "one").await;
    let next = id("next");
    server.google.secrets().lag = 1;
    store.begin(&name, &next, "me", lease()).await.unwrap();
    server.stage(&name, &next, "two").await.unwrap();
    for _ in 0..2 {
        store.promote(&name, &next, &first).await.unwrap();
        let described = subject.describe(&name).await;
        assert_eq!(
            (described.at(&Stage::Current), described.at(&Stage::Previous)),
            (Some(&next), Some(&first))
        );
        assert_eq!(store.version(&name, &next).await.unwrap().value.expose(), "two");
    }
    assert_eq!(server.states(&name).len(), 2);
}

/// Several rotate at once, and some of their writes are cut off or their answers lost.
#[tokio::test]
async fn whatever_happens_everybody_reads_what_is_current() {
    for seed in 0..10 {
        let server = Server::start().await;
        let (subject, store): (&dyn Subject, &dyn StagedStore) = (&server, &server.store);
        let (name, _) = subject.made("history", "made by hand").await;
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        server.google.judge(move |asked| match rng.lock().unwrap().u8(0..12) {
            0 if is_write(asked) => Fate::Cut,
            1 if is_write(asked) => Fate::Lost,
            _ => Fate::Through,
        });
        let tried = Mutex::new(vec!["made by hand".to_owned()]);
        let rotate = |worker: usize| {
            let (name, tried, server) = (&name, &tried, &server);
            async move {
                for round in 0..6 {
                    let current = store.describe(name).await?.at(&Stage::Current).unwrap().clone();
                    let proposed = id(&format!("worker{worker}-{round}"));
                    let Ok(version) = store.begin(name, &proposed, "all", lease()).await else { continue };
                    let value = format!("of {version}");
                    if server.stage(name, &version, &value).await.is_ok() {
                        tried.lock().unwrap().push(value);
                        _ = store.promote(name, &version, &current).await;
                    }
                    subject.read(name, &Stage::Current).await?;
                    // So little that no call takes fifteen seconds.
                    server.clock.advance(Duration::from_secs(7));
                }
                Ok::<_, SecretError>(())
            }
        };
        for outcome in futures_util::future::join_all((0..3).map(rotate)).await {
            outcome.unwrap();
        }
        server.google.judge(|_| Fate::Through);
        server.clock.advance(Duration::from_secs(61));
        let described = subject.describe(&name).await;
        let current = described.at(&Stage::Current).unwrap();
        let value = store.version(&name, current).await.unwrap().value.expose().to_owned();
        assert_eq!(server.latest(&name), value, "seed {seed}");
        assert_eq!(subject.value(&name, &Stage::Current).await.unwrap(), value);
        if let Some(previous) = described.at(&Stage::Previous) {
            assert_ne!(store.version(&name, previous).await.unwrap().value.expose(), value, "seed {seed}");
        }
        let tried = tried.into_inner().unwrap();
        let versions = server.google.secrets().secret(&whole(&name)).versions.clone();
        for version in versions.iter().filter(|version| version.state == "ENABLED") {
            let value = String::from_utf8(version.data.clone()).unwrap();
            assert!(tried.contains(&value), "seed {seed}: {value} was never promoted");
        }
        let next = store.begin(&name, &id("last"), "all", lease()).await.unwrap();
        server.stage(&name, &next, &format!("of {next}")).await.unwrap();
        store.promote(&name, &next, current).await.unwrap();
        assert_eq!(server.latest(&name), format!("of {next}"));
        assert_eq!(subject.value(&name, &Stage::Previous).await.unwrap(), value, "seed {seed}");
    }
}
