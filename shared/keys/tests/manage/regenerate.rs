//! Keys get new values.

use keyturn_keys::KeyHash;
use keyturn_keys::manage::{KeyRef, ManagerOptions, Patch, Regenerate};
use secrecy::{ExposeSecret, SecretString};

use crate::bench::{Bench, admin, alias, by_value, generate, named, refusal};

fn grace(period: &str) -> Regenerate {
    Regenerate { grace: Patch::Set(period.parse().unwrap()), ..Regenerate::default() }
}

pub(crate) async fn both_values_work_until_the_grace_is_over(bench: &Bench) {
    let manager = bench.manager();
    let one = generate(&manager, named("a")).await;
    bench.request(&one.value, 2.0).await.unwrap();
    let two = manager.regenerate(&admin(), &by_value(&one.value), &grace("2h")).await.unwrap();
    let id = one.info.value.id;
    assert_eq!((two.info.value.id, two.info.value.rotation_count), (id, 1));
    let two = two.value.unwrap();
    assert!(bench.opens(&one.value).await && bench.opens(&two).await);
    bench.request(&two, 1.0).await.unwrap();
    let spend = manager.info(&admin(), &by_value(&two)).await.unwrap().spend.spend;
    assert!((spend - 3.0).abs() < 1e-9);
    // A longer grace does not lengthen that of the first value, a shorter one shortens it.
    bench.pass(3_600);
    let three = manager.regenerate(&admin(), &by_value(&two), &grace("1d")).await.unwrap().value.unwrap();
    bench.pass(3_599);
    assert!(bench.opens(&one.value).await);
    bench.pass(1);
    assert!(!bench.opens(&one.value).await && bench.opens(&two).await);
    let four = manager.regenerate(&admin(), &KeyRef::Hash(id), &grace("1m")).await.unwrap().value.unwrap();
    bench.pass(60);
    assert!(!bench.opens(&two).await && !bench.opens(&three).await && bench.opens(&four).await);
    // The key is still found by its id, and its first value can be its value again.
    let back = Regenerate { new_key: Some(one.value.clone()), ..grace("1h") };
    let back = manager.regenerate(&admin(), &KeyRef::Hash(id), &back).await.unwrap();
    assert_eq!(back.info.value.hashes.len(), 2);
    assert!(bench.opens(&one.value).await && bench.opens(&four).await);
}

pub(crate) async fn without_a_grace_all_former_values_end(bench: &Bench) {
    let manager = bench.manager();
    let one = generate(&manager, named("a")).await;
    let two = manager.regenerate(&admin(), &alias("a"), &grace("1d")).await.unwrap().value.unwrap();
    let three = manager.regenerate(&admin(), &alias("a"), &Regenerate::default()).await.unwrap();
    assert_eq!(three.info.value.hashes.len(), 1);
    assert!(!bench.opens(&one.value).await && !bench.opens(&two).await);
    assert!(bench.opens(&three.value.unwrap()).await);
    assert_eq!(refusal(manager.info(&admin(), &by_value(&two)).await), ("not found", "key"));
    // Many values at once are refused before anything happens; without a grace it goes on.
    for _ in 0..7 {
        manager.regenerate(&admin(), &alias("a"), &grace("1d")).await.unwrap();
    }
    let before = manager.info(&admin(), &alias("a")).await.unwrap();
    let ninth = manager.regenerate(&admin(), &alias("a"), &grace("1d")).await;
    assert_eq!(refusal(ninth), ("invalid", "grace_period"));
    assert_eq!(manager.info(&admin(), &alias("a")).await.unwrap(), before);
    manager.regenerate(&admin(), &alias("a"), &Regenerate::default()).await.unwrap();
}

pub(crate) async fn a_repeat_changes_nothing(bench: &Bench) {
    let derivation = Some(SecretString::from("sk-master"));
    let manager = bench.manager_with(ManagerOptions { derivation, ..ManagerOptions::default() });
    let one = generate(&manager, named("a")).await;
    let once = |key: &str| Regenerate { idempotency_key: Some(SecretString::from(key)), ..grace("1d") };
    let first = manager.regenerate(&admin(), &alias("a"), &once("k1")).await.unwrap();
    let again = manager.regenerate(&admin(), &alias("a"), &once("k1")).await.unwrap();
    assert!(!first.repeated && again.repeated);
    assert_eq!(first.info, again.info);
    let value = first.value.unwrap();
    assert_eq!(value.expose_secret(), again.value.unwrap().expose_secret());
    assert!(bench.opens(&value).await && bench.opens(&one.value).await);
    // Two at once are one.
    let derivation = Some(SecretString::from("sk-master"));
    let manager = bench.crossing(2, 0, ManagerOptions { derivation, ..ManagerOptions::default() });
    let (admin_one, how) = (admin(), once("k2"));
    let key = alias("a");
    let both = (0..2).map(|_| manager.regenerate(&admin_one, &key, &how));
    let both: Vec<_> = futures_util::future::join_all(both).await;
    let values: Vec<_> = both.into_iter().map(|made| made.unwrap().value.unwrap()).collect();
    assert_eq!(values[0].expose_secret(), values[1].expose_secret());
    assert_ne!(values[0].expose_secret(), value.expose_secret());
    let info = manager.info(&admin(), &alias("a")).await.unwrap();
    assert_eq!(info.value.rotation_count, 2);
    // Who has another secret, or none, cannot say the value, but knows that it is a repeat.
    for derivation in [None, Some(SecretString::from("sk-other"))] {
        let other = bench.manager_with(ManagerOptions { derivation, ..ManagerOptions::default() });
        let again = other.regenerate(&admin(), &alias("a"), &once("k2")).await.unwrap();
        assert!(again.repeated && again.value.is_none());
    }
    // A day later it is no repeat.
    bench.pass(86_400);
    assert!(!manager.regenerate(&admin(), &alias("a"), &once("k2")).await.unwrap().repeated);
}

pub(crate) async fn values_must_be_free(bench: &Bench) {
    let manager = bench.manager();
    let one = generate(&manager, named("a")).await;
    let two = generate(&manager, named("b")).await;
    let to = |value: &SecretString| Regenerate { new_key: Some(value.clone()), ..grace("1d") };
    for (value, expected) in [
        (&one.value, ("invalid", "new_key")),
        (&two.value, ("duplicate", "new_key")),
        (&SecretString::from("short"), ("invalid", "new_key")),
    ] {
        assert_eq!(refusal(manager.regenerate(&admin(), &alias("a"), &to(value)).await), expected);
    }
    // A value that once led to the other key is that key's for as long as it is good there.
    let later = manager.regenerate(&admin(), &alias("b"), &grace("1d")).await.unwrap().value.unwrap();
    let refused = manager.regenerate(&admin(), &alias("a"), &to(&later)).await;
    assert_eq!(refusal(refused), ("duplicate", "new_key"));
    let own = SecretString::from("sk-my-own-new-value");
    let made = manager.regenerate(&admin(), &alias("a"), &to(&own)).await.unwrap();
    assert!(made.info.value.hashes.contains_key(&KeyHash::of(&own)));
    assert!(bench.opens(&own).await && bench.opens(&one.value).await);
}
