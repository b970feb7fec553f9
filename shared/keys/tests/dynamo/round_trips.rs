//! How many calls the port costs.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::date;
use keyturn_keys::AdmissionStore;
use keyturn_keys::KeyStore;
use keyturn_keys::ledger::Require;
use keyturn_keys::store::{Edit, Kind, RowId, Usage, UsageLine};

use crate::port::{add, hash, key, named, suite, under};
use crate::server::Dynamo;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_the_port() {
    let dynamo = Dynamo::start().await;
    suite(Arc::new(dynamo.store())).await;
}

#[tokio::test]
async fn the_request_path_costs_one_call_each() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let [id, later] = ["one", "later"].map(hash);
    let [row, team] = [RowId::key(&id), RowId::named(Kind::Team, "one")];
    let edits = [
        Edit::Create(key(&id, 1)),
        Edit::Create(named(team.clone(), 1)),
        Edit::Point { hash: later, id, until: None },
    ];
    store.edit(&edits).await.unwrap();
    assert_eq!(dynamo.calls(), ["TransactWriteItems"]);
    store.open(&id).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem"]);
    store.open(&later).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem"; 2], "through a pointer");
    store.charge(&[add(&row, "spend", 1)]).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem"]);
    store.charge(&[add(&row, "spend", 1), add(&team, "spend", 1)]).await.unwrap();
    assert_eq!(dynamo.calls(), ["TransactWriteItems"]);
    let checks = [&row, &team].map(|row| under(add(row, "spend", 0), &[Require::Rev(1)]));
    store.charge(&checks).await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem"], "conditions alone");
    // A refusal tells why without another call.
    let refused = under(add(&row, "spend", 1), &[Require::Rev(2)]);
    store.charge(std::slice::from_ref(&refused)).await.unwrap();
    store.charge(&[refused, add(&team, "spend", 1)]).await.unwrap();
    assert_eq!(dynamo.calls(), ["UpdateItem", "TransactWriteItems"]);
    store.read(&[row.clone(), team]).await.unwrap();
    store.read_shares(&row, 64).await.unwrap();
    store.generation().await.unwrap();
    store.aliased("nobody").await.unwrap();
    assert_eq!(dynamo.calls(), ["BatchGetItem", "BatchGetItem", "GetItem", "GetItem"]);
}

/// Counting must not write to an index, and what a change of a counter writes must not grow with the definition.
#[tokio::test]
async fn counters_are_in_an_item_of_their_own() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let id = hash("small");
    let mut large = key(&id, 1);
    large.text = format!(r#"{{"metadata":"{}"}}"#, "x".repeat(10_000));
    store.edit(&[Edit::Create(large)]).await.unwrap();
    store.charge(&[add(&RowId::key(&id), "spend", 1)]).await.unwrap();
    let item = dynamo.item(&format!("KEY#{id}"), "ACCOUNT").await.unwrap();
    let mut names: Vec<_> = item.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["pk", "rev", "sk", "spend"]);
}

#[tokio::test]
async fn what_is_no_longer_needed_has_an_end() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store().forget_usage_after(Duration::from_secs(86_400));
    let [id, kept, forgotten] = ["end", "kept", "forgotten"].map(hash);
    let until = Some("2026-11-20T12:00:00.5Z".parse().unwrap());
    let edits = [
        Edit::Create(key(&id, 1)),
        Edit::Point { hash: kept, id, until: None },
        Edit::Point { hash: forgotten, id, until },
    ];
    store.edit(&edits).await.unwrap();
    let ttl = async |hash| {
        let item = dynamo.item(&format!("KEY#{hash}"), "ROW").await.unwrap();
        item.get("ttl").map(|ttl| ttl.as_n().unwrap().clone())
    };
    assert_eq!((ttl(id).await, ttl(kept).await), (None, None));
    assert_eq!(ttl(forgotten).await.as_deref(), Some("1795176001"));

    let line = UsageLine {
        day: date(2026, 11, 20),
        key: Some(id),
        team_id: None,
        user_id: None,
        model: "gpt-4o".to_owned(),
        tags: Vec::new(),
        usage: Usage::default(),
    };
    let later = UsageLine { day: date(9999, 12, 31), ..line.clone() };
    store.log_usage(&line, 0).await.unwrap();
    store.log_usage(&later, 0).await.unwrap();
    dynamo.store().log_usage(&UsageLine { day: date(2026, 11, 21), ..line }, 0).await.unwrap();
    let lines = dynamo.client.query().table_name(crate::server::TABLE).key_condition_expression("pk = :pk");
    let lines = lines.expression_attribute_values(":pk", crate::server::s(&format!("SPEND#{id}")));
    let lines = lines.send().await.unwrap().items.unwrap();
    let ends: Vec<_> =
        lines.iter().map(|line| line.get("ttl").map(|ttl| ttl.as_n().unwrap().as_str())).collect();
    // The day's end, and one day more.
    assert_eq!(ends, [Some("1795305600"), None, None]);
}
