//! Many processes, one document.

use std::sync::Arc;

use futures_util::future::join_all;
use keyturn_keys::KeyStore;
use keyturn_keys::ledger::Require;
use keyturn_keys::store::{Charged, Edit, Kind, RowId, Usage, UsageLine, UsageQuery};

use crate::port::{add, hash, key, named, row, under};
use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn room_for_fifty_lets_fifty_through_whoever_asks() {
    let rig = Rig::start().await;
    let processes: Vec<Arc<dyn KeyStore>> = (0..4).map(|_| rig.store()).collect();
    let ids = [RowId::key(&hash("fifty")), RowId::named(Kind::Team, "t"), RowId::named(Kind::User, "u")];
    let make = ids.clone().map(|id| Edit::Create(named(id, 1)));
    processes[0].edit(&make).await.unwrap();
    let at_most = |bound| Require::AtMost("used".to_owned(), bound);
    // The user is the one that refuses: what was counted of the key and of the team is taken back.
    let requests = (0..200).map(|number| {
        let (store, ids) = (Arc::clone(&processes[number % 4]), ids.clone());
        tokio::spawn(async move {
            let [key, team, user] = ids.map(|id| add(&id, "used", 1));
            let charges = [key, team, under(user, &[at_most(49)])];
            matches!(store.charge(&charges).await.unwrap(), Charged::Done(_))
        })
    });
    let outcomes = join_all(requests).await;
    assert_eq!(outcomes.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 50);
    for id in &ids {
        assert_eq!(row(&*processes[1], id).await.unwrap().counters.get("used"), 50);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_usage_is_lost() {
    let rig = Rig::start().await;
    let processes: Vec<Arc<dyn KeyStore>> = (0..4).map(|_| rig.store()).collect();
    let day = jiff::civil::date(2026, 5, 31);
    let line = UsageLine {
        day,
        key: Some(hash("usage")),
        team_id: None,
        user_id: None,
        model: "m".to_owned(),
        tags: Vec::new(),
        usage: Usage { requests: 1, prompt_tokens: 2, completion_tokens: 3, cost: 4 },
    };
    let logs = (0..200).map(|number| {
        let (store, line) = (Arc::clone(&processes[number % 4]), line.clone());
        tokio::spawn(async move { store.log_usage(&line, 0).await.unwrap() })
    });
    for log in join_all(logs).await {
        log.unwrap();
    }
    let query = UsageQuery { from: day, to: day, key: None };
    let found = processes[0].usage(&query).await.unwrap();
    let usage = Usage { requests: 200, prompt_tokens: 400, completion_tokens: 600, cost: 800 };
    assert_eq!(found, [UsageLine { usage, ..line }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_take_an_alias_one_gets_it() {
    let rig = Rig::start().await;
    let tries = (0..8).map(|number| {
        let store = rig.store();
        tokio::spawn(async move {
            let id = hash(&number.to_string());
            let mut definition = key(&id, 1);
            definition.index.alias = Some("prod".to_owned());
            let edits = [Edit::Create(definition), Edit::Claim { alias: "prod".to_owned(), id }];
            (id, store.edit(&edits).await.is_ok())
        })
    });
    let outcomes: Vec<_> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = outcomes.iter().filter(|(_, won)| *won).collect();
    assert_eq!(winners.len(), 1);
    let store = rig.store();
    assert_eq!(store.aliased("prod").await.unwrap(), Some(winners[0].0));
    for (id, won) in outcomes {
        assert_eq!(row(&*store, &RowId::key(&id)).await.is_some(), won);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_changes_while_its_counters_do() {
    let rig = Rig::start().await;
    let id = RowId::key(&hash("busy"));
    let (manager, gateway) = (rig.store(), rig.store());
    manager.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    let counting = (0..100).map(|_| {
        let (gateway, id) = (Arc::clone(&gateway), id.clone());
        tokio::spawn(async move { gateway.charge(&[add(&id, "spend", 1)]).await.unwrap() })
    });
    let counting: Vec<_> = counting.collect();
    for from in 1..10 {
        manager.edit(&[Edit::Replace { from, to: named(id.clone(), from + 1) }]).await.unwrap();
    }
    for charged in join_all(counting).await {
        assert!(matches!(charged.unwrap(), Charged::Done(_)));
    }
    let row = row(&*manager, &id).await.unwrap();
    assert_eq!((row.rev, row.counters.get("spend")), (10, 100));
}
