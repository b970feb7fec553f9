//! One virtual key that carries 10,000 requests a second from 200 environments, which no single machine can bring about:
//! the real [`Keys`] over a model of DynamoDB, in a time of its own that passes as fast as the work is done.
//!
//! The same seed gives the same run. Every limit of the key binds in a minute of its own:
//!
//! | minute | what is different | what it reaches |
//! |---|---|---|
//! | 1 | a little less than the limit is asked for | nothing: not one request may be refused |
//! | 2 | a little more is | `rpm_limit` |
//! | 3 | requests three times as large | `tpm_limit` |
//! | 4 | an upstream five times as slow | `max_parallel_requests` |
//! | 5 | what is left is spent | `max_budget` |

mod dynamodb;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use keyturn_ambient::Clock;
use keyturn_keys::manage::{Caller, KeyFields, LimitFields, ManagerOptions, NewKey, Patch};
use keyturn_keys::store::RowId;
use keyturn_keys::{AdmissionStore, Ask, KeyError, KeyHash, Keys, KeysOptions, Manager, Spent};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use dynamodb::Model;
pub(crate) use dynamodb::{READS, Seen, WRITES};

/// US dollars that a request asks for.
const COST: f64 = 0.002;
/// Of what it asks for, tokens and dollars, a request uses at least so many per cent.
const LEAST_PART: u32 = 60;
const MODEL: &str = "gpt-4o-mini";
const MINUTE: Duration = Duration::from_secs(60);
/// When it begins, in minutes from 1970: 2026-11-20T12:00:00Z.
const BEGAN_MINUTE: i64 = 29_919_600;
/// In a dollar.
const NANOS: f64 = 1e9;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Requests a second that the key promises: `rpm_limit` by 60.
    pub(crate) rate: u32,
    /// Processes that share them.
    pub(crate) environments: usize,
    pub(crate) seed: u64,
}

/// One minute.
struct Phase {
    /// Requests a second, as a part of the promise.
    rate: f64,
    /// Tokens that a request asks for; it uses between 60 and 100 % of them.
    tokens: u64,
    /// Milliseconds that the upstream takes.
    upstream: Range<u64>,
}

const PHASES: [Phase; 5] = [
    Phase { rate: 0.98, tokens: 100, upstream: 300..700 },
    Phase { rate: 1.05, tokens: 100, upstream: 300..700 },
    Phase { rate: 1.05, tokens: 300, upstream: 300..700 },
    Phase { rate: 1.05, tokens: 100, upstream: 2_000..3_000 },
    Phase { rate: 1.0, tokens: 100, upstream: 300..700 },
];

/// The key's limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rpm: u64,
    pub(crate) tpm: u64,
    pub(crate) parallel: u64,
    /// US dollars.
    pub(crate) budget: f64,
}

/// How it came out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// How many shares the key has.
    pub(crate) shares: u16,
    /// Minute by minute.
    pub(crate) minutes: [Tally; 5],
    /// Tokens at the end of the third minute: what is settled has been taken off what was reserved.
    pub(crate) tokens: f64,
    /// Requests under way in the fourth minute, from its tenth second on: the mean.
    pub(crate) parallel: f64,
    /// US dollars spent, by what the upstream charged.
    pub(crate) charged: f64,
    /// The same as the table says it.
    pub(crate) spent: f64,
    /// Settlements that failed.
    pub(crate) unsettled: u64,
    /// What the store saw.
    pub(crate) seen: Seen,
}

/// One minute's requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Those that came.
    pub(crate) asked: u64,
    /// Those that were admitted.
    pub(crate) admitted: u64,
    /// Those that were refused because of a limit.
    pub(crate) refused: u64,
    /// Those that were answered with 503.
    pub(crate) failed: u64,
    /// Milliseconds until admitted: how many took so long.
    pub(crate) waits: BTreeMap<u64, u64>,
}

/// What was reached of a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// Which one.
    pub(crate) limit: &'static str,
    /// The limit, in its own unit.
    pub(crate) of: f64,
    /// What was used of it while more was asked for.
    pub(crate) used: f64,
    /// The most that was ever reserved and used of it.
    pub(crate) most: f64,
}

/// The time of the runtime, which stands still while anything can be done.
struct Simulated {
    began: Timestamp,
    at: Instant,
}

impl Clock for Simulated {
    fn now(&self) -> Timestamp {
        self.began + self.at.elapsed()
    }
}

impl Plan {
    fn limits(self) -> Limits {
        let rate = u64::from(self.rate);
        let budget = f64::from(self.rate) * 0.36;
        Limits { rpm: rate * 60, tpm: rate * 10_000, parallel: rate * 3 / 2, budget }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
impl Outcome {
    /// How far each limit was reached.
    pub(crate) fn reached(&self, plan: Plan) -> [Reached; 4] {
        let limits = plan.limits();
        let level = |counter: &str| self.seen.counters.get(counter).copied().unwrap_or_default();
        let first = BEGAN_MINUTE + 1;
        let most = |prefix: &str| {
            let minutes = (first..first + 5).map(|minute| level(&format!("{prefix}@{minute}")).most);
            minutes.max().unwrap_or_default() as f64
        };
        let reached = |limit, of, used, most| Reached { limit, of, used, most };
        [
            reached("rpm_limit", limits.rpm as f64, self.minutes[1].admitted as f64, most("rq")),
            reached("tpm_limit", limits.tpm as f64, self.tokens, most("tk")),
            reached(
                "max_parallel_requests",
                limits.parallel as f64,
                self.parallel,
                level("cm@parallel").most as f64,
            ),
            reached("max_budget", limits.budget, self.spent, level("cm@0").most as f64 / NANOS),
        ]
    }

    /// Requests that were neither admitted nor refused, in all minutes.
    pub(crate) fn failed(&self) -> u64 {
        self.minutes.iter().map(|tally| tally.failed).sum()
    }

    /// Milliseconds within which this part of the admitted were admitted.
    pub(crate) fn wait(&self, part: f64) -> f64 {
        let mut all: BTreeMap<u64, u64> = BTreeMap::new();
        for (wait, count) in self.minutes.iter().flat_map(|tally| &tally.waits) {
            *all.entry(*wait).or_default() += count;
        }
        let mut left = all.values().sum::<u64>() as f64 * part;
        for (wait, count) in all {
            left -= count as f64;
            if left <= 0.0 {
                return wait as f64;
            }
        }
        0.0
    }
}

/// Runs it.
///
/// # Panics
///
/// When the key cannot be made.
pub(crate) fn run(plan: Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), simulate(plan))
}

/// What all requests share.
struct World {
    outcome: RefCell<Outcome>,
    random: RefCell<Rng>,
    environments: Vec<Keys>,
    hash: KeyHash,
}

async fn simulate(plan: Plan) -> Outcome {
    let start = Instant::now();
    let began = Timestamp::from_second(BEGAN_MINUTE * 60).expect("a time");
    let clock: Arc<dyn Clock> = Arc::new(Simulated { began, at: start });
    let store = Arc::new(Model::new(plan.seed));
    let hash = make_key(plan, &store, &clock).await;
    let row = store.read(&[RowId::key(&hash)]).await.expect("the key").pop().flatten().expect("the key");
    let environments = (0..).take(plan.environments).map(|number| {
        let options = KeysOptions { seed: Some(plan.seed + number), ..KeysOptions::default() };
        Keys::new(Arc::clone(&store) as _, Arc::clone(&clock), options)
    });
    let world = Rc::new(World {
        outcome: RefCell::new(Outcome { shares: row.shares, ..Outcome::default() }),
        random: RefCell::new(Rng::with_seed(plan.seed)),
        environments: environments.collect(),
        hash,
    });

    // From the next full minute on.
    let mut tick = start + MINUTE;
    let mut under_way = Vec::new();
    let mut tokens = 0;
    for (minute, phase) in PHASES.iter().enumerate() {
        let a_millisecond = f64::from(plan.rate) * phase.rate / 1_000.0;
        let mut due = 0.0;
        for millisecond in 0..60_000 {
            sleep_until(tick).await;
            tick += Duration::from_millis(1);
            // Evenly on the whole, by chance from one millisecond to the next.
            due += a_millisecond * 2.0 * world.random.borrow_mut().f64();
            while due >= 1.0 {
                due -= 1.0;
                spawn_local(request(Rc::clone(&world), minute));
            }
            if minute == 3 && millisecond >= 10_000 && millisecond % 100 == 0 {
                under_way.push(store.level("cm@parallel"));
            }
            if minute == 2 && millisecond == 59_999 {
                tokens = store.level(&format!("tk@{}", BEGAN_MINUTE + 3));
            }
        }
    }
    // The last ones come to their end.
    sleep(MINUTE).await;
    let mut outcome = world.outcome.borrow().clone();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    {
        outcome.parallel = under_way.iter().sum::<i64>() as f64 / under_way.len() as f64;
        outcome.tokens = tokens as f64;
        outcome.spent = store.level("spend") as f64 / NANOS;
    }
    outcome.seen = store.seen();
    outcome
}

async fn make_key(plan: Plan, store: &Arc<Model>, clock: &Arc<dyn Clock>) -> KeyHash {
    let manager = Manager::new(Arc::clone(store) as _, Arc::clone(clock), ManagerOptions::default());
    let Limits { rpm, tpm, parallel, budget } = plan.limits();
    let fields = KeyFields {
        limits: LimitFields {
            rpm_limit: Patch::Set(rpm),
            tpm_limit: Patch::Set(tpm),
            max_parallel_requests: Patch::Set(parallel),
            max_budget: Patch::Set(budget),
            ..LimitFields::default()
        },
        ..KeyFields::default()
    };
    let made = manager.generate(&Caller::admin(None), NewKey { key: None, fields }).await;
    made.expect("a key").info.value.id
}

async fn request(world: Rc<World>, minute: usize) {
    let phase = &PHASES[minute];
    let (environment, upstream, part) = {
        let mut random = world.random.borrow_mut();
        let environment = random.usize(..world.environments.len());
        (environment, random.u64(phase.upstream.clone()), random.u32(LEAST_PART..=100))
    };
    let keys = &world.environments[environment];
    let ask = Ask { route: "/v1/chat/completions", model: MODEL, tokens: phase.tokens, cost: COST };
    let asked_at = Instant::now();
    let admitted = keys.admit(&world.hash, &ask).await;
    let waited = asked_at.elapsed().as_millis();
    let admission = {
        let mut outcome = world.outcome.borrow_mut();
        let tally = &mut outcome.minutes[minute];
        tally.asked += 1;
        match &admitted {
            Ok(_) => {
                tally.admitted += 1;
                *tally.waits.entry(u64::try_from(waited).unwrap_or(u64::MAX)).or_default() += 1;
            }
            Err(KeyError::Unavailable(_)) => tally.failed += 1,
            Err(_) => tally.refused += 1,
        }
        match admitted {
            Ok(admission) => admission,
            Err(_) => return,
        }
    };
    sleep(Duration::from_millis(upstream)).await;
    let cost = COST * f64::from(part) / 100.0;
    let completion_tokens = phase.tokens * u64::from(part) / 100;
    let spent = Spent { completion_tokens, cost, model: MODEL.to_owned(), ..Spent::default() };
    let settled = keys.settle(admission, &spent).await;
    let mut outcome = world.outcome.borrow_mut();
    outcome.charged += cost;
    outcome.unsettled += u64::from(settled.is_err());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the benchmark's, with fewer requests and fewer shares: two instead of 64.
    #[test]
    fn a_busy_key_keeps_every_limit_within_one_per_cent() {
        let plan = Plan { rate: 250, environments: 20, seed: 7 };
        let outcome = run(plan);
        assert_eq!(outcome.shares, 2);
        for Reached { limit, of, used, most } in outcome.reached(plan) {
            assert!(most <= of, "{limit}: {most} of {of}");
            assert!(used >= of * 0.99 && used <= of, "{limit}: {used} of {of}");
        }
        // Nobody is refused while there is room, nothing fails, and every dollar is counted.
        assert_eq!((outcome.minutes[0].refused, outcome.failed(), outcome.unsettled), (0, 0, 0));
        assert!(outcome.minutes[1..].iter().all(|tally| tally.refused > 0), "{:?}", outcome.minutes);
        assert!((outcome.spent - outcome.charged).abs() < 1e-3, "{} {}", outcome.spent, outcome.charged);
        let Seen { writes, reads, throttled, counters, .. } = outcome.seen;
        assert!(writes < WRITES && reads < READS && throttled == 0, "{writes} {reads} {throttled}");
        // What is reserved comes back.
        assert_eq!(counters["cm@parallel"].now, 0);
        assert_eq!(counters["cm@0"].now, counters["spend"].now);
    }
}
