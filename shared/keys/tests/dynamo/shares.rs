//! Busy accounts: their counters are spread over shares.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::civil::date;
use keyturn_ambient::SystemClock;
use keyturn_keys::ledger::Require;
use keyturn_keys::manage::{
    Caller, KeyFields, KeyRef, LimitFields, ManagerOptions, NewKey, NewTeam, NewUser,
};
use keyturn_keys::store::{
    Account, Charge, Charged, Definition, Edit, Kind, Refused, RowId, Usage, UsageLine, UsageQuery,
};
use keyturn_keys::{AdmissionStore, KeyStore, Manager};

use crate::port::{add, hash, key, named, row, under};
use crate::server::Dynamo;

fn shared(definition: Definition, shares: u16) -> Definition {
    Definition { shares, ..definition }
}

/// Adds to a share, and requires a revision.
fn on(id: &RowId, share: u16, rev: i64) -> Charge {
    let charge = under(add(id, "spend", 1), &[Require::Rev(rev)]);
    Charge { account: Account { row: id.clone(), share }, ..charge }
}

#[tokio::test]
async fn shares_come_with_their_row_follow_its_revision_and_go_with_it() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    assert!(store.shares());
    let id = RowId::named(Kind::Team, "busy");
    store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    let charge = async |share, rev| store.charge(&[on(&id, share, rev)]).await.unwrap();
    assert!(matches!(charge(0, 1).await, Charged::Done(_)));
    let Charged::Refused(refused) = charge(1, 1).await else { panic!("there is a share") };
    assert!(matches!(refused[..], [Refused::Missing]));

    store.edit(&[Edit::Replace { from: 1, to: shared(named(id.clone(), 2), 4) }]).await.unwrap();
    for share in 0..=4 {
        let Charged::Refused(refused) = charge(share, 1).await else { panic!("the former revision") };
        assert!(matches!(refused[..], [Refused::Unfit(2, _)]), "{refused:?}");
        for _ in 0..share {
            assert!(matches!(charge(share, 2).await, Charged::Done(_)));
        }
    }
    let sums = async |shares| {
        let counters = store.read_shares(&id, shares).await.unwrap();
        counters.iter().map(|counters| counters.get("spend")).collect::<Vec<_>>()
    };
    assert_eq!(sums(4).await, [1, 2, 3, 4]);
    // More of them: those that are there keep what they have.
    store.edit(&[Edit::Replace { from: 2, to: shared(named(id.clone(), 3), 64) }]).await.unwrap();
    let found = row(&store, &id).await.unwrap();
    assert_eq!((found.shares, found.counters.get("spend")), (64, 1));
    assert!(matches!(charge(64, 3).await, Charged::Done(_)));
    let counters = sums(64).await;
    assert_eq!((counters.len(), &counters[..5], counters[63]), (64, &[1, 2, 3, 4, 0][..], 1));

    store.edit(&[Edit::Delete { id: id.clone(), rev: 3, shares: 64 }]).await.unwrap();
    for share in [0, 1, 64] {
        assert!(matches!(charge(share, 3).await, Charged::Refused(_)));
    }
    // Made again, with shares from the start: nothing is left of the former ones.
    store.edit(&[Edit::Create(shared(named(id.clone(), 4), 64))]).await.unwrap();
    assert_eq!(sums(64).await, [0; 64]);
}

#[tokio::test]
async fn a_grant_moves_between_a_row_and_its_share_or_not_at_all() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let id = RowId::key(&hash("grants"));
    store.edit(&[Edit::Create(shared(key(&hash("grants"), 1), 2))]).await.unwrap();
    let grant = || {
        let row = under(add(&id, "cm@0", 60), &[Require::AtMost("cm@0".to_owned(), 40)]);
        let share = Account { row: id.clone(), share: 1 };
        [row, Charge { account: share, ..add(&id, "cm@0", -60) }]
    };
    assert!(matches!(store.charge(&grant()).await.unwrap(), Charged::Done(_)));
    let Charged::Refused(refused) = store.charge(&grant()).await.unwrap() else { panic!("a second grant") };
    assert!(
        matches!(&refused[..], [Refused::Unfit(1, counters), Refused::Fits] if counters.get("cm@0") == 60)
    );
    assert_eq!(store.read_shares(&id, 2).await.unwrap()[0].get("cm@0"), -60);
}

/// Items with one partition key may be in one partition, which takes about 1,000 writes a second.
#[tokio::test]
async fn shares_have_partition_keys_of_their_own() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let id = hash("partitions");
    store.edit(&[Edit::Create(shared(key(&id, 1), 8))]).await.unwrap();
    let line = UsageLine {
        day: date(2026, 11, 20),
        key: Some(id),
        team_id: None,
        user_id: None,
        model: "gpt-4o".to_owned(),
        tags: Vec::new(),
        usage: Usage { requests: 1, ..Usage::default() },
    };
    for _ in 0..200 {
        store.log_usage(&line, 8).await.unwrap();
    }
    let items = dynamo.client.scan().table_name(crate::server::TABLE).send().await.unwrap().items.unwrap();
    let partitions = |prefix: &str| {
        let pks = items.iter().map(|item| item["pk"].as_s().unwrap().as_str());
        pks.filter(|pk| pk.starts_with(prefix)).collect::<HashSet<_>>().len()
    };
    assert_eq!(partitions("SHARE#"), 8);
    // 200 lines miss one of eight with a probability of 10^-11.
    assert_eq!(partitions("SPEND#"), 8);
    let query = UsageQuery { from: line.day, to: line.day, key: Some(id) };
    let [sum] = &store.usage(&query).await.unwrap()[..] else { panic!("several lines") };
    assert_eq!(sum.usage.requests, 200);
}

#[tokio::test]
async fn what_does_not_fit_into_a_transaction_is_refused_whole() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let ids = ["first", "second"].map(hash);
    let edits = ids.map(|id| Edit::Create(shared(key(&id, 1), 64)));
    let error = store.edit(&edits).await.unwrap_err().to_string();
    assert!(error.contains("133 actions"), "{error}");
    assert!(row(&store, &RowId::key(&ids[0])).await.is_none());
}

/// Requests of a key are counted in its team and its user too.
#[tokio::test]
async fn a_team_and_a_user_have_as_many_shares_as_their_busy_keys_together() {
    let dynamo = Dynamo::start().await;
    let store: Arc<dyn KeyStore> = Arc::new(dynamo.store());
    let manager = Manager::new(Arc::clone(&store), Arc::new(SystemClock), ManagerOptions::default());
    let admin = Caller::admin(None);
    let shares = async |id: RowId| store.read(&[id]).await.unwrap()[0].as_ref().unwrap().shares;
    let team = |id: &str| RowId::named(Kind::Team, id);
    for id in ["red", "blue"] {
        let new = NewTeam { team_id: Some(id.to_owned()), ..NewTeam::default() };
        manager.new_team(&admin, new).await.unwrap();
    }
    let fields = |team: &str, rpm: u64| KeyFields {
        team_id: team.to_owned().into(),
        user_id: "someone".to_owned().into(),
        limits: LimitFields { rpm_limit: rpm.into(), ..LimitFields::default() },
        ..KeyFields::default()
    };
    let generate = async |fields: KeyFields| {
        let made = manager.generate(&admin, NewKey { key: None, fields }).await.unwrap();
        KeyRef::Hash(made.info.value.id)
    };
    generate(fields("red", 600)).await;
    assert_eq!(shares(team("red")).await, 0);
    let first = generate(fields("red", 48_000)).await;
    assert_eq!(shares(team("red")).await, 4);
    // Together they need eight; a number of shares is a power of two, and never falls.
    let second = generate(fields("red", 20_000)).await;
    assert_eq!(shares(team("red")).await, 8);
    manager.update(&admin, &first, &fields("red", 600)).await.unwrap();
    manager.delete(&admin, std::slice::from_ref(&second)).await.unwrap();
    assert_eq!(shares(team("red")).await, 8);
    // A key that becomes busy, and one that goes to another team.
    let third = generate(fields("blue", 600)).await;
    assert_eq!(shares(team("blue")).await, 0);
    manager.update(&admin, &third, &fields("blue", 600_000)).await.unwrap();
    assert_eq!(shares(team("blue")).await, 64);
    let update = KeyFields { team_id: "blue".to_owned().into(), ..KeyFields::default() };
    manager.update(&admin, &first, &update).await.unwrap();
    assert_eq!((shares(team("red")).await, shares(team("blue")).await), (8, 64));
    // An owner that is made after its keys.
    manager
        .new_user(&admin, NewUser { user_id: Some("someone".to_owned()), ..NewUser::default() })
        .await
        .unwrap();
    assert_eq!(shares(RowId::named(Kind::User, "someone")).await, 64);
    // It changes nothing else: what a team counts goes on.
    let found = manager.team(&admin, "blue").await.unwrap();
    assert_eq!((found.value.team_id.as_str(), found.spend.spend), ("blue", 0.0));
}
