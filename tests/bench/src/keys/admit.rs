//! What an admission costs: CPU without the store, and calls of DynamoDB.

use std::sync::Arc;

use keyturn_ambient::{ManualClock, SystemClock};
use keyturn_keys::manage::{
    Caller, KeyFields, LimitFields, ManagerOptions, NewKey, NewTeam, NewUser, Patch, TeamFields, UserFields,
};
use keyturn_keys::{KeyHash, KeyStore, Keys, KeysOptions, Manager};
use keyturn_tests::dynamo::Dynamo;
use tokio::time::Instant;

use super::stub::Stub;
use super::{Plan, ask, busy, settlement, store_on};
use crate::progress::Progress;
use crate::report::{Bar, Row, Table, Unit};
use crate::samples::Samples;
use crate::stage::all_limits;

/// Admissions in a sample.
const BATCH: u32 = 1_000;
/// Admissions whose calls are counted.
const COUNTED: u32 = 100;

/// A key, and the name of its rows.
struct Subject {
    what: &'static str,
    hash: KeyHash,
}

pub(super) async fn measure(plan: Plan, progress: &Progress) -> Table {
    progress.say("Admissions without a store");
    let stub: Arc<dyn KeyStore> = Arc::new(Stub::default());
    let mut rows = Vec::new();
    for subject in subjects(&stub).await {
        let [admitted, settled] = cpu(plan, &stub, &subject).await;
        let row = |what: &str, microseconds| {
            Row::new(format!("CPU, {}: {what}", subject.what), Unit::Microseconds, vec![microseconds])
        };
        rows.push(row("admit", admitted).bar(Bar::AtMost(100.0)));
        rows.push(row("settle", settled));
    }
    progress.say("Calls of an admission");
    let dynamo = Dynamo::start().await;
    let store = store_on(&dynamo).await;
    for subject in subjects(&store).await {
        let calls = calls(&dynamo, &store, &subject).await;
        let what = format!("calls of DynamoDB, {}: admit", subject.what);
        rows.push(Row::new(what, Unit::Count, vec![Some(calls)]).bar(Bar::Exactly(1.0)));
    }
    Table {
        title: "Virtual keys: one admission".to_owned(),
        columns: vec!["keyturn".to_owned()],
        rows,
        notes: vec![
            "All limits: budget, requests and tokens in a minute, requests at once. CPU is that of a store that \
             answers at once, its own small part included; the median of batches. A call of DynamoDB's client comes \
             on top, as in the tables of the functions. Before the first one, key, team and user are read; that is \
             not counted."
                .to_owned(),
        ],
    }
}

/// Keys of each kind, made by the real manager.
async fn subjects(store: &Arc<dyn KeyStore>) -> Vec<Subject> {
    let manager = Manager::new(Arc::clone(store), Arc::new(SystemClock), ManagerOptions::default());
    let admin = Caller::admin(None);
    let limits = LimitFields { rpm_limit: Patch::Set(6_000), ..all_limits().limits };
    let team = NewTeam {
        team_id: Some("team".to_owned()),
        fields: TeamFields { limits: limits.clone(), ..TeamFields::default() },
        ..NewTeam::default()
    };
    manager.new_team(&admin, team).await.expect("a team");
    let user = NewUser {
        user_id: Some("user".to_owned()),
        fields: UserFields { limits: limits.clone(), ..UserFields::default() },
        ..NewUser::default()
    };
    manager.new_user(&admin, user).await.expect("a user");
    let alone = KeyFields { limits, ..KeyFields::default() };
    let owned = KeyFields {
        team_id: Patch::Set("team".to_owned()),
        user_id: Patch::Set("user".to_owned()),
        ..alone.clone()
    };
    let mut subjects = Vec::new();
    for (what, fields) in [
        ("a key with all limits", alone),
        ("a key, its team and its user, each with all limits", owned),
        ("a busy key with all limits (64 shares)", busy(all_limits().limits)),
    ] {
        let made = manager.generate(&admin, NewKey { key: None, fields }).await.expect("a key");
        subjects.push(Subject { what, hash: made.info.value.id });
    }
    subjects
}

/// Microseconds of an admission and of its settlement. The clock stands still: nothing is read again.
async fn cpu(plan: Plan, store: &Arc<dyn KeyStore>, subject: &Subject) -> [Option<f64>; 2] {
    let clock = ManualClock::at(keyturn_ambient::Clock::now(&SystemClock));
    let keys = Keys::new(store.clone(), Arc::new(clock), KeysOptions::default());
    let (mut admitted, mut settled) = (Samples::default(), Samples::default());
    for _ in 0..plan.batches {
        let mut admissions = Vec::new();
        let start = Instant::now();
        for _ in 0..BATCH {
            admissions.push(keys.admit(&subject.hash, &ask()).await.expect("room"));
        }
        admitted.push(start.elapsed() / BATCH);
        let spent = settlement();
        let start = Instant::now();
        for admission in admissions {
            keys.settle(admission, &spent).await.expect("a settlement");
        }
        settled.push(start.elapsed() / BATCH);
    }
    [admitted, settled].map(|samples| samples.median().map(|milliseconds| milliseconds * 1e3))
}

async fn calls(dynamo: &Dynamo, store: &Arc<dyn KeyStore>, subject: &Subject) -> f64 {
    let keys = Keys::new(store.clone(), Arc::new(SystemClock), KeysOptions::default());
    let mut admissions = Vec::new();
    // The first ones read rows, and have shares granted what there is for them.
    for _ in 0..10 * COUNTED {
        admissions.push(keys.admit(&subject.hash, &ask()).await.expect("room"));
    }
    let before = dynamo.total();
    for _ in 0..COUNTED {
        admissions.push(keys.admit(&subject.hash, &ask()).await.expect("room"));
    }
    #[expect(clippy::cast_precision_loss, reason = "some hundred calls")]
    let calls = (dynamo.total() - before) as f64 / f64::from(COUNTED);
    for admission in admissions {
        keys.settle(admission, &settlement()).await.expect("a settlement");
    }
    calls
}
