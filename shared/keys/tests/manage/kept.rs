//! Values that are kept in a secret store too.

use std::sync::Arc;

use keyturn_keys::manage::{KeyFields, KeyRef, NewKey, Patch, Regenerate};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;

use crate::bench::{Bench, Drawer, admin, alias, by_value, generate, label, named, refusal};

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

fn once(key: &str) -> Regenerate {
    let grace = Patch::Set("1h".parse().unwrap());
    Regenerate { grace, idempotency_key: Some(SecretString::from(key)), ..Regenerate::default() }
}

pub(crate) async fn values_are_kept_before_the_key_is_made(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let one = generate(&manager, named("a")).await;
    assert!(same(&drawer.value(), &one.value));
    assert_eq!(drawer.inside()[0].0, label(&one.info.value.id, Some("a")));
    // Neither a key that is there nor an alias that is taken changes what is kept.
    let again = NewKey { key: Some(one.value.clone()), fields: named("b") };
    assert_eq!(refusal(manager.generate(&admin(), again).await), ("duplicate", "key"));
    let again = NewKey { key: None, fields: named("a") };
    assert_eq!(refusal(manager.generate(&admin(), again).await), ("duplicate", "key_alias"));
    assert!(same(&drawer.value(), &one.value));
    // It goes with the key's name, with every new value, and away with the key.
    manager.update(&admin(), &alias("a"), &named("c")).await.unwrap();
    assert_eq!(drawer.inside()[0].0, label(&one.info.value.id, Some("c")));
    assert!(same(&drawer.value(), &one.value));
    // The place has one name for both aliases.
    manager.update(&admin(), &alias("c"), &named("C")).await.unwrap();
    assert_eq!(drawer.inside()[0].0, label(&one.info.value.id, Some("c")));
    assert!(same(&drawer.value(), &one.value));
    for _ in 0..2 {
        let how = Regenerate { fields: named("d"), ..Regenerate::default() };
        let made = manager.regenerate(&admin(), &KeyRef::Hash(one.info.value.id), &how).await.unwrap();
        assert!(same(&drawer.value(), &made.value.unwrap()));
        assert!(bench.opens(&drawer.value()).await);
    }
    assert_eq!(drawer.inside()[0].0, label(&one.info.value.id, Some("d")));
    manager.delete(&admin(), &[alias("d")]).await.unwrap();
    assert!(drawer.inside().is_empty());
    *drawer.fails.lock().unwrap() = true;
    let failed = manager.generate(&admin(), NewKey { key: None, fields: named("e") }).await;
    assert_eq!(refusal(failed), ("kept", ""));
    assert_eq!(refusal(manager.info(&admin(), &alias("e")).await), ("not found", "key"));
}

pub(crate) async fn a_regeneration_goes_on_where_it_broke_off(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let one = generate(&manager, named("a")).await;
    // The process dies after the new value was kept.
    let stopped = Arc::new(Notify::new());
    *drawer.stops.lock().unwrap() = Some(stopped.clone());
    let (caller, key, how) = (admin(), alias("a"), once("k"));
    tokio::select! {
        _ = manager.regenerate(&caller, &key, &how) => panic!("it ended"),
        () = stopped.notified() => {}
    }
    let kept = drawer.value();
    assert!(!same(&kept, &one.value));
    assert!(bench.opens(&kept).await && bench.opens(&one.value).await);
    bench.pass(2 * 3_600);
    assert!(bench.opens(&kept).await && bench.opens(&one.value).await);
    // The same regeneration makes the same value, whoever goes on with it.
    let made = bench.keeping(&drawer).regenerate(&admin(), &alias("a"), &once("k")).await.unwrap();
    assert!(!made.repeated && made.info.value.rotation_count == 1);
    assert!(same(&made.value.unwrap(), &kept) && same(&drawer.value(), &kept));
    bench.pass(3_600);
    assert!(bench.opens(&kept).await && !bench.opens(&one.value).await);
    // While one is under way another one waits, but not for ever.
    *drawer.stops.lock().unwrap() = Some(stopped.clone());
    let how = once("k2");
    tokio::select! {
        _ = manager.regenerate(&caller, &key, &how) => panic!("it ended"),
        () = stopped.notified() => {}
    }
    assert_eq!(refusal(manager.regenerate(&admin(), &alias("a"), &once("k3")).await), ("conflict", ""));
    assert!(bench.opens(&drawer.value()).await);
    bench.pass(16 * 60);
    manager.regenerate(&admin(), &alias("a"), &once("k3")).await.unwrap();
    assert!(bench.opens(&drawer.value()).await);
}

pub(crate) async fn a_failing_secret_store_leaves_the_key_as_it_was(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let one = generate(&manager, named("a")).await;
    *drawer.fails.lock().unwrap() = true;
    let failed = manager.regenerate(&admin(), &alias("a"), &Regenerate::default()).await;
    assert_eq!(refusal(failed), ("kept", ""));
    assert!(same(&drawer.value(), &one.value) && bench.opens(&one.value).await);
    assert_eq!(manager.info(&admin(), &alias("a")).await.unwrap().value.rotation_count, 0);
    // It need not wait to be tried again.
    let made = manager.regenerate(&admin(), &alias("a"), &Regenerate::default()).await.unwrap();
    assert!(same(&drawer.value(), &made.value.unwrap()));
    assert_eq!(made.info.value.hashes.len(), 1);
}

pub(crate) async fn the_schedule_regenerates_what_is_due(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let interval = Patch::Set("30d".parse().unwrap());
    let fields = KeyFields { auto_rotate: true.into(), rotation_interval: interval, ..named("a") };
    let one = generate(&manager, fields).await;
    let id = one.info.value.id;
    generate(&bench.manager(), named("b")).await;
    assert!(manager.due_for_rotation(bench.now(), None).await.unwrap().keys.is_empty());
    bench.pass(30 * 86_400);
    assert_eq!(manager.due_for_rotation(bench.now(), None).await.unwrap().keys, [id]);
    // Who has nowhere to put the new value leaves the old one alone.
    let without = bench.manager().rotate_due(None, || true).await.unwrap();
    assert_eq!((without.done.len(), without.failed.len()), (0, 1));
    assert!(bench.opens(&one.value).await);
    // Two runs at once regenerate once.
    let (first, second) = tokio::join!(manager.rotate_due(None, || true), manager.rotate_due(None, || true));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(first.failed.is_empty() && second.failed.is_empty(), "{first:?} {second:?}");
    let key = manager.info(&admin(), &alias("a")).await.unwrap().value;
    assert_eq!((key.rotation_count, key.updated_by.as_deref()), (1, Some("rotation-schedule")));
    assert_eq!(key.key_rotation_at, Some(bench.now() + jiff::SignedDuration::from_hours(30 * 24)));
    assert!(!same(&drawer.value(), &one.value));
    assert!(bench.opens(&drawer.value()).await && bench.opens(&one.value).await);
    bench.pass(86_400);
    assert!(bench.opens(&drawer.value()).await && !bench.opens(&one.value).await);
    // A blocked key is not regenerated.
    bench.pass(30 * 86_400);
    manager.block(&admin(), &alias("a"), true).await.unwrap();
    assert!(manager.due_for_rotation(bench.now(), None).await.unwrap().keys.is_empty());
}

pub(crate) async fn what_was_left_behind_is_tidied_up(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let kept = generate(&manager, named("a")).await;
    // The process dies after the value was kept and before the key was made.
    let stopped = Arc::new(Notify::new());
    *drawer.stops.lock().unwrap() = Some(stopped.clone());
    let caller = admin();
    tokio::select! {
        _ = manager.generate(&caller, NewKey { key: None, fields: named("b") }) => panic!("it ended"),
        () = stopped.notified() => {}
    }
    assert_eq!(drawer.inside().len(), 2);
    // It may be about to be made.
    assert_eq!(manager.tidy_kept(None).await.unwrap(), (0, None));
    bench.pass(3_600);
    *drawer.knows_when.lock().unwrap() = false;
    assert_eq!(manager.tidy_kept(None).await.unwrap(), (0, None));
    *drawer.knows_when.lock().unwrap() = true;
    assert_eq!(manager.tidy_kept(None).await.unwrap(), (1, None));
    assert!(same(&drawer.value(), &kept.value));
    assert!(manager.info(&admin(), &by_value(&kept.value)).await.is_ok());
}

pub(crate) async fn master_keys_are_not_kept(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let (old, new) = (SecretString::from("sk-an-old-master-key"), SecretString::from("sk-a-new-master-key"));
    let how = Regenerate { new_key: Some(new.clone()), ..once("k") };
    manager.rotate_master(&admin(), &old, true, &how).await.unwrap();
    assert!(bench.opens(&old).await && bench.opens(&new).await);
    // Nor when it is treated as a key.
    manager.update(&admin(), &by_value(&new), &named("master")).await.unwrap();
    let made = manager.regenerate(&admin(), &alias("master"), &Regenerate::default()).await.unwrap();
    assert!(bench.opens(&made.value.unwrap()).await);
    assert!(drawer.inside().is_empty());
}

pub(crate) async fn what_cannot_be_read_yet_is_not_lost(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let one = generate(&manager, named("a")).await;
    let grace = Patch::Set("1h".parse().unwrap());
    let how = Regenerate { grace, ..Regenerate::default() };
    manager.regenerate(&admin(), &alias("a"), &how).await.unwrap();
    // The place does not tell of the value yet, or tells the former one.
    for told in [None, Some(one.value.clone())] {
        *drawer.reads.lock().unwrap() = Some(told);
        let renamed = manager.update(&admin(), &alias("a"), &named("b")).await;
        assert_eq!(refusal(renamed), ("kept", ""));
    }
    let (id, value) = (one.info.value.id, drawer.value());
    manager.update(&admin(), &alias("a"), &named("b")).await.unwrap();
    assert_eq!(drawer.inside()[0].0, label(&id, Some("b")));
    assert!(same(&drawer.value(), &value));
    // A key of the time before values were kept.
    generate(&bench.manager(), named("c")).await;
    bench.pass(300);
    manager.update(&admin(), &alias("c"), &named("d")).await.unwrap();
    assert!(same(&drawer.value(), &value));
}
