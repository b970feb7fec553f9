//! What must hold on every manager.

use std::collections::BTreeMap;
use std::slice::from_ref;

use keyturn_keys::KeyHash;
use keyturn_keys::manage::{KeyFields, KeyRef, NewKey, Patch, Regenerate};
use keyturn_secrets::About;
use secrecy::SecretString;
use tokio::sync::Notify;

use crate::bench::{Bench, admin, by_id, named, text, told};

/// What LiteLLM calls the secret of a key without an alias, and a key that Keyturn does not know.
const STRANGER: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(crate) async fn a_secret_lives_as_long_as_its_key(bench: &Bench) {
    for alias in [Some("prod/web"), None] {
        let fields = alias.map_or_else(KeyFields::default, named);
        let key = bench.generate(fields).await;
        let id = key.info.value.id;
        let name = bench.name(&id, alias);
        assert_eq!(name, format!("{}{}/{id}", bench.place.prefix, alias.unwrap_or("virtual-key")));
        assert_eq!(bench.names().await, from_ref(&name));
        assert_eq!(bench.value(&name).await, Some(text(&key.value)));
        // Every new value, not the first one alone.
        for _ in 0..3 {
            let made =
                bench.manager.regenerate(&admin(), &by_id(&key), &Regenerate::default()).await.unwrap();
            assert_eq!(bench.value(&name).await, made.value.as_ref().map(text));
        }
        let value = bench.value(&name).await;
        // A new alias is a new name.
        bench.manager.update(&admin(), &by_id(&key), &named("renamed")).await.unwrap();
        let renamed = bench.name(&id, Some("renamed"));
        assert_eq!(bench.names().await, from_ref(&renamed));
        assert_eq!((bench.value(&name).await, bench.value(&renamed).await), (None, value));
        let how = Regenerate { fields: named("again"), ..Regenerate::default() };
        let made = bench.manager.regenerate(&admin(), &by_id(&key), &how).await.unwrap();
        let again = bench.name(&id, Some("again"));
        assert_eq!(bench.names().await, from_ref(&again));
        assert_eq!(bench.value(&again).await, made.value.as_ref().map(text));
        if alias.is_none() {
            let bare = KeyFields { key_alias: Patch::Clear, ..KeyFields::default() };
            bench.manager.update(&admin(), &by_id(&key), &bare).await.unwrap();
            assert_eq!(bench.names().await, [name]);
        }
        bench.manager.delete(&admin(), &[by_id(&key)]).await.unwrap();
        assert!(bench.names().await.is_empty());
        assert_eq!(bench.value(&again).await, None);
    }
}

pub(crate) async fn every_key_has_a_secret_of_its_own(bench: &Bench) {
    let mut values = BTreeMap::new();
    for alias in ["a", "a/b", "a b", "a_b"] {
        let key = bench.generate(named(alias)).await;
        values.insert(bench.name(&key.info.value.id, Some(alias)), text(&key.value));
    }
    for _ in 0..2 {
        let key = bench.generate(KeyFields::default()).await;
        values.insert(bench.name(&key.info.value.id, None), text(&key.value));
    }
    assert_eq!(bench.names().await, values.keys().cloned().collect::<Vec<_>>());
    for (name, value) in values {
        assert_eq!(bench.value(&name).await, Some(value), "{name}");
    }
}

pub(crate) async fn names_are_fit_for_the_manager(bench: &Bench) {
    let long = "ä/".repeat(341);
    for (alias, part) in [
        ("Büro 3", "B_ro_3"),
        ("a+b=c.d@e-f_g", "a+b=c.d@e-f_g"),
        ("//a//b/", "a/b"),
        ("./a/.../b", "a/b"),
        ("/", "virtual-key"),
        ("%2e%2e/?x#y", "_2e_2e/_x_y"),
        (&long, &["_"; 124].join("/")),
    ] {
        let key = bench.generate(named(alias)).await;
        let name = bench.name(&key.info.value.id, Some(alias));
        assert_eq!(name, format!("{}{part}/{}", bench.place.prefix, key.info.value.id));
        assert_eq!(bench.value(&name).await, Some(text(&key.value)), "{alias}");
        assert_eq!(bench.names().await, [name]);
        bench.manager.delete(&admin(), &[by_id(&key)]).await.unwrap();
        assert!(bench.names().await.is_empty(), "{alias}");
    }
}

pub(crate) async fn a_secret_tells_whose_it_is(bench: &Bench) {
    let key = bench.generate(named("a")).await;
    bench.manager.update(&admin(), &by_id(&key), &named("b")).await.unwrap();
    let id = key.info.value.id;
    let known = bench.place.store.describe(&bench.name(&id, Some("b"))).await.unwrap();
    let expected = [
        ("Team", "llm"),
        ("keyturn:key-id", id.to_string().as_str()),
        ("keyturn:key-store", "dynamodb:keys"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(known.tags, BTreeMap::from(expected));
}

pub(crate) async fn what_a_dead_process_leaves_is_tidied_up(bench: &Bench) {
    let kept = bench.generate(named("kept")).await;
    let kept_name = bench.name(&kept.info.value.id, Some("kept"));
    // It dies after the secret was written, before the key was.
    let own = SecretString::from("sk-brought-along-by-its-owner");
    let new = || NewKey { key: Some(own.clone()), fields: named("a") };
    let caller = admin();
    let (dying, died) = bench.dying();
    dies(dying.generate(&caller, new()), &died).await;
    let left = bench.name(&KeyHash::of(&own), Some("a"));
    assert_eq!(bench.value(&left).await, Some(text(&own)));
    // The same again ends what was begun, and is no leftover then.
    bench.pass(4_000);
    let made = bench.manager.generate(&admin(), new()).await.unwrap();
    assert_eq!(bench.tidy().await, 0);
    bench.manager.delete(&admin(), &[by_id(&made)]).await.unwrap();

    // Without a repeat it is removed, once it is too old to be in the making.
    let (dying, died) = bench.dying();
    dies(dying.generate(&caller, new()), &died).await;
    // It dies between the two names of a secret.
    let (dying, died) = bench.dying();
    let (key, fields) = (by_id(&kept), named("renamed"));
    dies(dying.update(&caller, &key, &fields), &died).await;
    assert_eq!(bench.names().await.len(), 3);
    bench.pass(4_000);
    assert_eq!(bench.tidy().await, 2);
    assert_eq!(bench.names().await, from_ref(&kept_name));
    assert_eq!(bench.value(&kept_name).await, Some(text(&kept.value)));
    assert_eq!(bench.tidy().await, 0);

    // It dies within a regeneration: what is there works, and goes with the key.
    let (dying, died) = bench.dying();
    let how = Regenerate::default();
    Box::pin(dies(dying.regenerate(&caller, &key, &how), &died)).await;
    let value = SecretString::from(bench.value(&kept_name).await.unwrap());
    assert_ne!(text(&value), text(&kept.value));
    for value in [&value, &kept.value] {
        let key = KeyRef::Value(value.clone());
        assert_eq!(bench.manager.info(&admin(), &key).await.unwrap().value.id, kept.info.value.id);
    }
    bench.pass(4_000);
    assert_eq!(bench.tidy().await, 0);
    bench.manager.delete(&admin(), &[key]).await.unwrap();
    assert!(bench.names().await.is_empty());
}

/// Makes a call until its process dies.
async fn dies<T>(call: impl Future<Output = T>, died: &Notify) {
    tokio::select! {
        _ = call => panic!("it ended"),
        () = died.notified() => {}
    }
}

pub(crate) async fn what_is_not_ours_is_left_alone(bench: &Bench) {
    let value = SecretString::from("sk-of-somebody-else");
    let tags = |id: &str, store: &str| {
        let tags = [("keyturn:key-id", id), ("keyturn:key-store", store)];
        tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    };
    let prefix = &bench.place.prefix;
    let others = [
        // LiteLLM's, one made by hand, another gateway's, one that was copied.
        (format!("{prefix}virtual-key-{STRANGER}"), BTreeMap::new()),
        (format!("{prefix}providers"), BTreeMap::new()),
        (format!("{prefix}a/{STRANGER}"), BTreeMap::new()),
        (format!("{prefix}b/{STRANGER}"), tags(STRANGER, "dynamodb:other")),
        (format!("{prefix}c/{STRANGER}"), tags("another", "dynamodb:keys")),
    ];
    for (name, tags) in &others {
        let about = About { tags: tags.clone(), ..About::default() };
        bench.place.store.write(name, &value, &about).await.unwrap();
    }
    let key = bench.generate(named("a")).await;
    assert_eq!(bench.names().await, [bench.name(&key.info.value.id, Some("a"))]);
    bench.pass(4_000);
    assert_eq!(bench.tidy().await, 0);
    for (name, _) in &others {
        assert_eq!(bench.value(name).await, Some(text(&value)), "{name}");
    }
    // One with both tags is ours.
    let about = About { tags: tags(STRANGER, "dynamodb:keys"), ..About::default() };
    bench.place.store.write(&others[2].0, &value, &about).await.unwrap();
    bench.pass(4_000);
    assert_eq!(bench.tidy().await, 1);
    assert_eq!(bench.value(&others[2].0).await, None);
}

pub(crate) async fn an_outage_is_told_without_the_key(bench: &Bench) {
    let key = bench.generate(named("a")).await;
    let name = bench.name(&key.info.value.id, Some("a"));
    (bench.place.outage)(true);
    let own = SecretString::from("sk-canary-Xq7vT2mP9wLz");
    let new = NewKey { key: Some(own.clone()), fields: named("b") };
    let how = Regenerate { new_key: Some(own.clone()), ..Regenerate::default() };
    let caller = admin();
    let errors = [
        bench.manager.generate(&caller, new).await.map(drop).unwrap_err(),
        bench.manager.update(&caller, &by_id(&key), &named("b")).await.map(drop).unwrap_err(),
        bench.manager.regenerate(&caller, &by_id(&key), &how).await.map(drop).unwrap_err(),
        bench.manager.delete(&caller, &[by_id(&key)]).await.map(drop).unwrap_err(),
        bench.manager.tidy_kept(None).await.map(drop).unwrap_err(),
    ];
    for error in &errors {
        let (told, debugged) = (told(error), format!("{error:?}"));
        assert!(told.starts_with("the secret store for virtual keys is unavailable: secret `"), "{told}");
        for secret in ["Xq7vT2mP9wLz", &text(&key.value)[3..]] {
            assert!(!told.contains(secret) && !debugged.contains(secret), "{debugged}");
        }
    }
    (bench.place.outage)(false);
    // Nothing has happened.
    assert_eq!(bench.names().await, from_ref(&name));
    assert_eq!(bench.value(&name).await, Some(text(&key.value)));
    let found = bench.manager.info(&caller, &by_id(&key)).await.unwrap().value;
    assert_eq!((found.key_alias.as_deref(), found.rotation_count), (Some("a"), 0));
}
