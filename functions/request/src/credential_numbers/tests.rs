use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyturn_ambient::{Clock, ManualClock};
use keyturn_config::SecretRef;
use keyturn_secrets::{CacheSettings, Secret, SecretError, SecretStore, Stage, Stores, VersionId};
use serde_json::json;

use super::*;

thread_local! {
    static LINES: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
}

const LOG: Log = Log {
    level: Level::Info,
    sink: |line| LINES.with(|lines| lines.borrow_mut().push(serde_json::from_slice(line).unwrap())),
};

/// A store that has the secret `a`.
struct Fake;

#[async_trait]
impl SecretStore for Fake {
    fn scheme(&self) -> &'static str {
        "vault"
    }

    async fn get(&self, name: &str, _: &Stage) -> Result<Secret, SecretError> {
        match name {
            "a" => Ok(Secret::new("value".to_owned(), VersionId::new("1"))),
            _ => Err(SecretError::not_found("vault:gone", "no such secret")),
        }
    }
}

struct Rig {
    clock: Arc<ManualClock>,
    cache: CredentialCache,
    numbers: CredentialNumbers,
}

impl Rig {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let settings = CacheSettings { jitter: 0.0, ..CacheSettings::default() };
        let stores = Stores::none().with(Arc::new(Fake));
        let cache = CredentialCache::new(stores, Arc::clone(&clock) as _, settings);
        Self { clock, cache, numbers: CredentialNumbers::new() }
    }

    async fn ask(&self, name: &str) {
        let reference: SecretRef = format!("vault:{name}").parse().unwrap();
        let _ = self.cache.get(&reference).await;
    }

    /// The lines that are written at the end of a request now.
    fn lines(&self) -> Vec<Value> {
        self.numbers.write(&self.cache, LOG, self.clock.now());
        LINES.with(RefCell::take)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn a_line_says_what_happened_since_the_last_one_and_leaves_zeroes_out() {
    let rig = Rig::new();
    assert!(rig.lines().is_empty(), "nothing has happened");
    for name in ["a", "a", "a", "gone"] {
        rig.ask(name).await;
    }
    let lines = rig.lines();
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&line["message"], &line["store"]), (&json!("credentials"), &json!("vault")));
    let figures = |line: &Value| {
        FIGURES.map(|(metric, _)| line.get(metric.name).map(|figure| figure.as_u64().unwrap()))
    };
    assert_eq!(figures(line), [Some(2), Some(2), None, None, None, Some(1)]);
    let metrics = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 3, "no metric without a figure");
    assert!(metrics.iter().all(|metric| metric["Dimensions"] == json!([[], ["store"]])), "{line}");

    rig.ask("a").await;
    rig.pass(59);
    assert!(rig.lines().is_empty(), "a minute has not passed");
    rig.ask("a").await;
    rig.pass(1);
    assert_eq!(figures(&rig.lines()[0]), [None, Some(2), None, None, None, None]);
    rig.pass(600);
    assert!(rig.lines().is_empty(), "nothing was asked");
    rig.ask("a").await;
    tokio::task::yield_now().await;
    assert_eq!(figures(&rig.lines()[0]), [Some(1), Some(1), Some(1), None, Some(1), None]);
}

#[tokio::test]
async fn a_level_above_info_writes_nothing() {
    let rig = Rig::new();
    rig.ask("a").await;
    rig.numbers.write(&rig.cache, Log { level: Level::Warn, ..LOG }, rig.clock.now());
    assert!(LINES.with(RefCell::take).is_empty());
    assert_eq!(rig.lines().len(), 1);
}
