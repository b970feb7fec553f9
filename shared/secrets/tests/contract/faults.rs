//! What every store promises when its server fails: what is held serves to its end, nothing is asked more often than
//! it must be, and no restart is needed afterwards.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use keyturn_ambient::{Clock, ManualClock};
use keyturn_config::SecretRef;
use keyturn_secrets::{CacheSettings, CredentialCache, SecretError, SecretStore, Stage, Stores};

use crate::promises::Seed;

/// What a server does to every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It refuses our permissions, in its own words.
    Denied,
    /// It answers that it is asked too much.
    Throttled,
    /// It answers that it is out of service: sealed, overloaded, failing.
    Down,
    /// It breaks the connection off.
    Broken,
    /// It answers a success that is none of its own: HTML of a proxy, JSON of another shape.
    Garbage,
    /// It takes the call and never answers.
    Silent,
}

const FAULTS: [Fault; 6] =
    [Fault::Denied, Fault::Throttled, Fault::Down, Fault::Broken, Fault::Garbage, Fault::Silent];

/// A server that can be made to fail.
pub(crate) trait Faulty: Seed {
    /// From now on every call of it fails like this; or none does.
    fn fail(&self, fault: Option<Fault>);

    /// How many reads of secrets have come, failed ones too.
    fn reads(&self) -> u64;

    /// How often the store asks at most for one read, when its server fails: 1 without retries.
    fn attempts(&self) -> u64;

    /// Whether the store keeps for good what it has read once, so that a fault can only be met by a first read.
    fn remembers(&self) -> bool {
        false
    }

    /// After how many seconds a value is due for a refresh: the soft TTL, or what the value's own life says. In any
    /// case it is due after 3500 seconds and serves no more after 3702.
    fn due_after(&self) -> u64 {
        301
    }
}

/// A value that must be shown nowhere.
const CANARY: &str = "sk-canary-7d3e1f";

/// Asks the store that `open` makes for all of them. It makes the same store anew each time: with nothing kept.
pub(crate) async fn survives_faults(open: impl Fn() -> Arc<dyn SecretStore>, seed: &dyn Faulty) {
    each_fault_has_its_class_and_passes(&*open(), seed).await;
    if seed.remembers() {
        what_is_known_needs_no_server(open(), seed).await;
        a_crowd_makes_one_first_read(open(), seed).await;
    } else {
        what_is_held_serves_to_its_end(open(), seed).await;
        a_crowd_reads_once(open(), seed).await;
    }
    a_rotation_is_seen(open(), seed).await;
}

async fn each_fault_has_its_class_and_passes(store: &dyn SecretStore, seed: &dyn Faulty) {
    let limit = Duration::from_secs(20);
    let mut shown = String::new();
    for fault in FAULTS {
        // A store that remembers has not read this one yet.
        let name = seed.put("fault-classes", CANARY).await;
        seed.fail(Some(fault));
        if fault == Fault::Silent {
            // The cache gives up on it; here it is only cut off, as the cache does.
            let read = tokio::time::timeout(Duration::from_millis(100), store.get(&name, &Stage::Current));
            assert!(!matches!(read.await, Ok(Ok(_))), "a silent server has given a value");
        } else {
            let read = tokio::time::timeout(limit, store.get(&name, &Stage::Current)).await;
            let error = read.unwrap_or_else(|_| panic!("{fault:?}: no answer")).unwrap_err();
            write!(shown, "{error} {error:?} {:?}", std::error::Error::source(&error)).unwrap();
            let fits = match fault {
                Fault::Denied => matches!(error, SecretError::Denied { .. }),
                Fault::Throttled | Fault::Down | Fault::Broken => {
                    matches!(error, SecretError::Unavailable { .. })
                }
                Fault::Garbage => {
                    matches!(error, SecretError::Unavailable { .. } | SecretError::Malformed { .. })
                }
                Fault::Silent => true,
            };
            assert!(fits, "{fault:?}: {error:?}");
        }
        seed.fail(None);
        let read = store.get(&name, &Stage::Current).await;
        let read = read.unwrap_or_else(|error| panic!("after {fault:?}: {error:?}"));
        assert_eq!(read.value.expose(), CANARY, "{fault:?}");
    }
    assert!(!shown.contains(CANARY) && !shown.contains("7d3e1f"), "{shown}");
}

/// A cache in front of one store, and its clock.
struct Cached {
    cache: CredentialCache,
    clock: Arc<Mutex<ManualClock>>,
    reference: SecretRef,
}

/// The cache's clock moves by itself as well: stores and servers have the machine's.
struct Moved(Arc<Mutex<ManualClock>>, Timestamp);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        let moved = self.0.lock().unwrap().now().duration_since(Timestamp::UNIX_EPOCH);
        self.1 + moved
    }
}

impl Cached {
    fn new(store: Arc<dyn SecretStore>, name: &str) -> Self {
        let clock = Arc::new(Mutex::new(ManualClock::at(Timestamp::UNIX_EPOCH)));
        let scheme = store.scheme().to_owned();
        let settings = CacheSettings {
            jitter: 0.0,
            read_timeout: Duration::from_secs(2),
            failure_cooldown: Duration::from_secs(1),
            ..CacheSettings::default()
        };
        let moved = Arc::new(Moved(Arc::clone(&clock), Timestamp::now()));
        let cache = CredentialCache::new(Stores::none().with(store), moved, settings);
        Self {
            cache,
            clock,
            reference: SecretRef { scheme, name: name.to_owned(), field: None, stage: None },
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.lock().unwrap().advance(Duration::from_secs(seconds));
    }

    async fn get(&self) -> Result<String, SecretError> {
        Ok(self.cache.get(&self.reference).await?.value.expose().to_owned())
    }

    /// Asks 200 times at once.
    async fn crowd(&self) -> Vec<Result<String, SecretError>> {
        join_all((0..200).map(|_| self.get())).await
    }

    /// Waits for a refresh in the background to have come to its end.
    async fn refreshed(&self, reads: u64) {
        keyturn_tests::within("the refresh", async {
            while self.cache.stats().total().reads < reads {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn what_is_held_serves_to_its_end(store: Arc<dyn SecretStore>, seed: &dyn Faulty) {
    let name = seed.put("fault-held", CANARY).await;
    for fault in FAULTS {
        let cached = Cached::new(Arc::clone(&store), &name);
        cached.get().await.unwrap();
        seed.fail(Some(fault));
        cached.pass(3500);
        assert_eq!(cached.get().await.unwrap(), CANARY, "{fault:?}: past the soft TTL");
        cached.refreshed(2).await;
        cached.pass(2);
        assert_eq!(cached.get().await.unwrap(), CANARY, "{fault:?}: after a failed refresh");
        cached.refreshed(3).await;
        cached.pass(200);
        cached.get().await.expect_err("past the hard TTL");
        seed.fail(None);
        cached.pass(2);
        let again = cached.get().await;
        assert_eq!(again.unwrap_or_else(|error| panic!("after {fault:?}: {error:?}")), CANARY);
    }
}

async fn what_is_known_needs_no_server(store: Arc<dyn SecretStore>, seed: &dyn Faulty) {
    let name = seed.put("fault-known", CANARY).await;
    store.get(&name, &Stage::Current).await.unwrap();
    let before = seed.reads();
    for fault in FAULTS {
        let cached = Cached::new(Arc::clone(&store), &name);
        seed.fail(Some(fault));
        for _ in 0..3 {
            assert_eq!(cached.get().await.unwrap(), CANARY, "{fault:?}");
            cached.pass(4000);
        }
    }
    seed.fail(None);
    assert_eq!(seed.reads(), before);
}

async fn a_crowd_makes_one_first_read(store: Arc<dyn SecretStore>, seed: &dyn Faulty) {
    let name = seed.put("fault-crowd", CANARY).await;
    for fault in [Fault::Down, Fault::Throttled, Fault::Denied] {
        seed.fail(Some(fault));
        // The cache's moment for which a failure answers: the store forgets it at once.
        let cached = Cached::new(Arc::clone(&store), &name);
        let before = seed.reads();
        assert!(cached.crowd().await.into_iter().all(|value| value.is_err()), "{fault:?}");
        assert!(cached.crowd().await.into_iter().all(|value| value.is_err()), "{fault:?}");
        let reads = seed.reads() - before;
        assert!((1..=seed.attempts()).contains(&reads), "{fault:?}: {reads} reads");
    }
    seed.fail(None);
    let before = seed.reads();
    let crowd = join_all((0..200).map(|_| store.get(&name, &Stage::Current))).await;
    assert!(crowd.into_iter().all(|secret| secret.unwrap().value.expose() == CANARY));
    assert_eq!(seed.reads() - before, 1);
}

async fn a_crowd_reads_once(store: Arc<dyn SecretStore>, seed: &dyn Faulty) {
    let name = seed.put("fault-crowd", CANARY).await;
    store.get(&name, &Stage::Current).await.unwrap();
    let cached = Cached::new(store, &name);
    let before = seed.reads();
    assert!(cached.crowd().await.into_iter().all(|value| value.unwrap() == CANARY));
    assert_eq!(seed.reads() - before, 1, "nothing held");
    cached.pass(seed.due_after());
    assert!(cached.crowd().await.into_iter().all(|value| value.unwrap() == CANARY));
    cached.refreshed(2).await;
    assert_eq!(seed.reads() - before, 2, "past the soft TTL");
    seed.fail(Some(Fault::Down));
    cached.pass(4000);
    let before = seed.reads();
    assert!(cached.crowd().await.into_iter().all(|value| value.is_err()));
    assert!(cached.crowd().await.into_iter().all(|value| value.is_err()), "the failure answers for a moment");
    let reads = seed.reads() - before;
    assert!((1..=seed.attempts()).contains(&reads), "{reads} reads of a server that is down");
    seed.fail(None);
    cached.pass(2);
    assert!(cached.crowd().await.into_iter().all(|value| value.unwrap() == CANARY));
}

async fn a_rotation_is_seen(store: Arc<dyn SecretStore>, seed: &dyn Faulty) {
    let name = seed.put("fault-rotation", "sk-one").await;
    let cached = Cached::new(store, &name);
    let one = cached.cache.get(&cached.reference).await.unwrap();
    // Twice within a TTL.
    seed.put("fault-rotation", "sk-two").await;
    seed.put("fault-rotation", "sk-three").await;
    assert_eq!(cached.get().await.unwrap(), "sk-one");
    let refused = join_all((0..200).map(|_| cached.cache.refused(&cached.reference, &one.version))).await;
    assert!(refused.into_iter().all(|secret| secret.unwrap().value.expose() == "sk-three"));
    seed.put("fault-rotation", "sk-four").await;
    cached.pass(seed.due_after());
    cached.get().await.unwrap();
    cached.refreshed(3).await;
    assert_eq!(cached.get().await.unwrap(), "sk-four");
}
