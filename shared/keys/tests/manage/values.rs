//! Keys have further values for a while.

use std::sync::Arc;
use std::time::Duration;

use keyturn_keys::manage::{
    KeyFields, ManageError, Manager, ManagerOptions, Naming, Patch, Regenerate, Whose,
};
use keyturn_keys::{KeyError, KeyHash, Keys, KeysOptions};
use secrecy::{ExposeSecret, SecretString};

use crate::bench::{Bench, Drawer, admin, alias, by_value, generate, named, refusal};

const PREFIX: &str = "keyturn-1-";

async fn add(
    manager: &Manager,
    whose: Whose,
    present: &SecretString,
    name: &str,
) -> Result<SecretString, ManageError> {
    let naming = Naming { new: name, present: "keyturn-1-first" };
    manager.add_value(&admin(), whose, present, naming).await
}

async fn names(manager: &Manager, present: &SecretString, prefix: &str) -> Vec<String> {
    let values = manager.named_values(&admin(), present, prefix).await.unwrap();
    values.into_iter().map(|value| value.name.name).collect()
}

fn grace(period: &str) -> Regenerate {
    Regenerate { grace: Patch::Set(period.parse().unwrap()), ..Regenerate::default() }
}

pub(crate) async fn a_value_is_added_beside_others_and_ended_alone(bench: &Bench) {
    let manager = bench.manager();
    let one = generate(&manager, named("a")).await;
    let id = one.info.value.id;
    bench.request(&one.value, 2.0).await.unwrap();
    assert!(names(&manager, &one.value, "").await.is_empty());
    bench.pass(5);
    let two = add(&manager, Whose::Key, &one.value, "keyturn-1-t2").await.unwrap();
    bench.request(&two, 1.0).await.unwrap();
    let info = manager.info(&admin(), &by_value(&two)).await.unwrap();
    assert!((info.spend.spend - 3.0).abs() < 1e-9);
    assert_eq!((info.value.id, info.value.rotation_count), (id, 1));
    assert_eq!(info.value.last_rotation_at, Some(bench.now()));
    let last: String = two.expose_secret().chars().skip(two.expose_secret().len() - 4).collect();
    assert_eq!(info.value.key_name, format!("sk-...{last}"));
    // A second one from the first: nothing has an end, and each is found by its name.
    let three = add(&manager, Whose::Key, &two, "keyturn-1-t3").await.unwrap();
    bench.pass(365 * 86_400);
    for value in [&one.value, &two, &three] {
        assert!(bench.opens(value).await);
        assert!(manager.has_value(Whose::Key, value).await.unwrap());
        let mut found = names(&manager, value, PREFIX).await;
        found.sort();
        assert_eq!(found, ["keyturn-1-first", "keyturn-1-t2", "keyturn-1-t3"]);
    }
    assert!(names(&manager, &two, "keyturn-2-").await.is_empty());
    let values = manager.named_values(&admin(), &two, "keyturn-1-t2").await.unwrap();
    assert_eq!((values[0].hash, values.len()), (KeyHash::of(&two), 1));
    // The first one goes alone, though the row has its name; twice does no harm.
    assert!(manager.end_value(&admin(), &KeyHash::of(&one.value)).await.unwrap());
    assert!(!manager.end_value(&admin(), &KeyHash::of(&one.value)).await.unwrap());
    assert!(!bench.opens(&one.value).await && bench.opens(&two).await && bench.opens(&three).await);
    assert!(!manager.has_value(Whose::Key, &one.value).await.unwrap());
    assert!(manager.end_value(&admin(), &KeyHash::of(&two)).await.unwrap());
    assert!(!manager.end_value(&admin(), &KeyHash::of(&two)).await.unwrap());
    assert!(!bench.opens(&two).await && bench.opens(&three).await);
    assert_eq!(names(&manager, &three, "").await, ["keyturn-1-t3"]);
    assert_eq!(refusal(manager.info(&admin(), &by_value(&two)).await), ("not found", "key"));
    let hashes = manager.info(&admin(), &alias("a")).await.unwrap().value.hashes;
    assert_eq!(hashes.into_iter().collect::<Vec<_>>(), [(KeyHash::of(&three), None)]);
    // A regeneration without a grace ends them all, added ones too: that is the answer to a leak.
    let four = add(&manager, Whose::Key, &three, "keyturn-1-t4").await.unwrap();
    let five =
        manager.regenerate(&admin(), &alias("a"), &Regenerate::default()).await.unwrap().value.unwrap();
    assert!(!bench.opens(&three).await && !bench.opens(&four).await && bench.opens(&five).await);
    assert!(names(&manager, &five, "").await.is_empty());
}

pub(crate) async fn two_at_once_are_two(bench: &Bench) {
    let one = generate(&bench.manager(), named("a")).await;
    let crossing = bench.crossing(2, 0, ManagerOptions::default());
    let (left, right) = tokio::join!(
        add(&crossing, Whose::Key, &one.value, "keyturn-1-same"),
        add(&crossing, Whose::Key, &one.value, "keyturn-1-same")
    );
    for value in [&one.value, &left.unwrap(), &right.unwrap()] {
        assert!(bench.opens(value).await);
    }
    assert_eq!(names(&crossing, &one.value, "keyturn-1-same").await.len(), 2);
    // So do two that end two.
    let values = crossing.named_values(&admin(), &one.value, "keyturn-1-same").await.unwrap();
    let crossing = bench.crossing(2, 0, ManagerOptions::default());
    let caller = admin();
    let (left, right) = tokio::join!(
        crossing.end_value(&caller, &values[0].hash),
        crossing.end_value(&caller, &values[1].hash)
    );
    assert!(left.unwrap() && right.unwrap());
    assert_eq!(names(&crossing, &one.value, PREFIX).await, ["keyturn-1-first"]);
}

pub(crate) async fn what_cannot_be_added_or_ended_is_refused(bench: &Bench) {
    let manager = bench.manager();
    let unknown = SecretString::from("sk-nobody-has-this-one");
    assert_eq!(refusal(add(&manager, Whose::Key, &unknown, "n").await), ("not found", "key"));
    assert_eq!(refusal(manager.named_values(&admin(), &unknown, "").await), ("not found", "key"));
    assert!(!manager.has_value(Whose::Key, &unknown).await.unwrap());
    assert!(!manager.end_value(&admin(), &KeyHash::of(&unknown)).await.unwrap());
    // Not the last one, nor the last one without an end.
    let one = generate(&manager, named("a")).await;
    let hash = KeyHash::of(&one.value);
    assert_eq!(refusal(manager.end_value(&admin(), &hash).await), ("invalid", "key"));
    let two = manager.regenerate(&admin(), &alias("a"), &grace("1d")).await.unwrap().value.unwrap();
    let refused = manager.end_value(&admin(), &KeyHash::of(&two)).await;
    assert_eq!(refusal(refused), ("invalid", "key"));
    assert!(bench.opens(&one.value).await && bench.opens(&two).await);
    // Not more than eight; what has ended makes room.
    for number in 0..6 {
        add(&manager, Whose::Key, &two, &format!("n{number}")).await.unwrap();
    }
    assert_eq!(refusal(add(&manager, Whose::Key, &two, "n6").await), ("invalid", "values"));
    bench.pass(86_400);
    add(&manager, Whose::Key, &two, "n6").await.unwrap();
    assert!(!bench.opens(&one.value).await && bench.opens(&two).await);
    // A virtual key is no master key, nor the reverse.
    let refused = add(&manager, Whose::Master, &two, "n").await;
    assert_eq!(refusal(refused), ("invalid", "key"));
    assert_eq!(refusal(manager.has_value(Whose::Master, &two).await), ("invalid", "key"));
    let master = SecretString::from("sk-the-master-key");
    let next = add(&manager, Whose::Master, &master, "n").await.unwrap();
    for value in [&master, &next] {
        assert_eq!(refusal(add(&manager, Whose::Key, value, "n").await), ("invalid", "key"));
        assert_eq!(refusal(manager.has_value(Whose::Key, value).await), ("invalid", "key"));
    }
    let short = SecretString::from("1234");
    assert_eq!(refusal(add(&manager, Whose::Master, &short, "n").await), ("invalid", "key"));
    // Only those who may do everything.
    let user = keyturn_keys::manage::Caller::user("u");
    let naming = Naming { new: "n", present: "p" };
    assert_eq!(refusal(manager.add_value(&user, Whose::Key, &two, naming).await), ("denied", "key"));
    assert_eq!(refusal(manager.named_values(&user, &two, "").await), ("denied", "key"));
    assert_eq!(refusal(manager.end_value(&user, &KeyHash::of(&two)).await), ("denied", "key"));
    // A key that gets new values by itself: that would give the added one an end.
    let drawer = Arc::new(Drawer::default());
    let keeping = bench.keeping(&drawer);
    let interval = Patch::Set("30d".parse().unwrap());
    let own = KeyFields { auto_rotate: true.into(), rotation_interval: interval, ..named("b") };
    let own = generate(&keeping, own).await;
    assert_eq!(refusal(add(&keeping, Whose::Key, &own.value, "n").await), ("invalid", "auto_rotate"));
}

pub(crate) async fn an_added_value_is_kept(bench: &Bench) {
    let drawer = Arc::new(Drawer::default());
    let manager = bench.keeping(&drawer);
    let one = generate(&manager, named("a")).await;
    let two = add(&manager, Whose::Key, &one.value, "n2").await.unwrap();
    assert_eq!(drawer.value().expose_secret(), two.expose_secret());
    // What is kept must work: it cannot be ended, though it is another one by mistake.
    *drawer.fails.lock().unwrap() = true;
    assert_eq!(refusal(add(&manager, Whose::Key, &two, "n3").await), ("kept", ""));
    assert_eq!(refusal(manager.end_value(&admin(), &KeyHash::of(&two)).await), ("invalid", "key"));
    assert!(bench.opens(&drawer.value()).await);
    // With the next one it can.
    let four = add(&manager, Whose::Key, &two, "n4").await.unwrap();
    assert_eq!(drawer.value().expose_secret(), four.expose_secret());
    assert!(manager.end_value(&admin(), &KeyHash::of(&two)).await.unwrap());
    assert!(bench.opens(&four).await && !bench.opens(&two).await);
    // The key's other name takes the newest value along.
    manager.update(&admin(), &alias("a"), &named("c")).await.unwrap();
    assert_eq!(drawer.value().expose_secret(), four.expose_secret());
}

/// A gateway that is configured with a master key, and what it says of a value that a client shows.
struct Gateway {
    configured: KeyHash,
    keys: Keys,
}

impl Gateway {
    fn of(bench: &Bench, configured: &SecretString) -> Self {
        let options = KeysOptions { cache_life: Duration::from_secs(10), usage_every: None, seed: Some(1) };
        let keys = Keys::new(bench.store.clone(), bench.clock.clone(), options);
        Self { configured: KeyHash::of(configured), keys }
    }

    /// As the functions do it: the configured master key is looked up once it has been replaced.
    async fn lets_in(&self, shown: &SecretString) -> bool {
        let hash = KeyHash::of(shown);
        if hash == self.configured && !self.keys.replaced_master(&hash).await.unwrap() {
            return true;
        }
        match self.keys.authenticate(&hash).await {
            Ok(identity) => {
                identity.check_route("/key/generate").unwrap();
                identity.check_route("/v1/chat/completions").unwrap();
                true
            }
            Err(KeyError::NotFound) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) async fn a_master_key_works_at_every_gateway(bench: &Bench) {
    let manager = bench.manager();
    let first = SecretString::from("sk-1234");
    // It has no row yet: a check of what is there finds nothing wrong.
    assert!(manager.has_value(Whose::Master, &first).await.unwrap());
    let old = Gateway::of(bench, &first);
    assert!(old.lets_in(&first).await);
    let second = add(&manager, Whose::Master, &first, "keyturn-1-t2").await.unwrap();
    assert!(second.expose_secret().starts_with("sk-master-"));
    assert!(manager.has_value(Whose::Master, &second).await.unwrap());
    // Both work at a gateway that still has the first, before and after it has looked, and at one that has read the
    // second.
    let new = Gateway::of(bench, &second);
    for _ in 0..3 {
        for gateway in [&old, &new] {
            assert!(gateway.lets_in(&first).await && gateway.lets_in(&second).await);
        }
        bench.pass(11);
    }
    let third = add(&manager, Whose::Master, &second, "keyturn-1-t3").await.unwrap();
    let newest = Gateway::of(bench, &third);
    assert!(manager.end_value(&admin(), &KeyHash::of(&first)).await.unwrap());
    bench.pass(11);
    for gateway in [&old, &new, &newest] {
        assert!(!gateway.lets_in(&first).await);
        assert!(gateway.lets_in(&second).await && gateway.lets_in(&third).await);
    }
    // One that this made and the table has lost is not taken for a master key.
    assert!(manager.end_value(&admin(), &KeyHash::of(&second)).await.unwrap());
    assert!(!manager.has_value(Whose::Master, &second).await.unwrap());
    assert_eq!(names(&manager, &third, "").await, ["keyturn-1-t3"]);
    // Two gateways that begin at once make one row.
    let configured = SecretString::from("sk-another-master");
    let crossing = bench.crossing(2, 0, ManagerOptions::default());
    let (left, right) = tokio::join!(
        add(&crossing, Whose::Master, &configured, "keyturn-1-l"),
        add(&crossing, Whose::Master, &configured, "keyturn-1-r")
    );
    let gateway = Gateway::of(bench, &configured);
    for value in [&configured, &left.unwrap(), &right.unwrap()] {
        assert!(gateway.lets_in(value).await);
    }
    assert_eq!(names(&crossing, &configured, "keyturn-1-").await.len(), 3);
}
