//! Vault fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use keyturn_keys::store::{Edit, EditError, Filter, Kind, Listing, RowId, UsageQuery};
use keyturn_tests::openbao::Fate;

use crate::port::{add, hash, key, named, row};
use crate::rig::Rig;

#[tokio::test]
async fn an_outage_is_a_failure_of_every_call() {
    let rig = Rig::start().await;
    let store = rig.store();
    let (id, day) = (hash("k"), jiff::civil::date(2026, 1, 1));
    store.edit(&[Edit::Create(key(&id, 1))]).await.unwrap();
    rig.tap.judge(|_, _| Fate::Status(503));
    let filter = Filter::All(Kind::Key);
    let listing = Listing { filter: filter.clone(), descending: false, limit: 1, skip: 0, from: None };
    let row = RowId::key(&id);
    let failures = [
        store.open(&id).await.err(),
        store.read(std::slice::from_ref(&row)).await.err(),
        store.charge(&[add(&row, "n", 1)]).await.err(),
        store.aliased("a").await.err(),
        store.list(&listing).await.err(),
        store.count(&filter).await.err(),
        store.generation().await.err(),
        store.next_generation().await.err(),
        store.usage(&UsageQuery { from: day, to: day, key: None }).await.err(),
    ];
    for failure in failures {
        assert_eq!(failure.unwrap().to_string(), "Vault is unavailable: it answered with status 503");
    }
    let edit = store.edit(&[Edit::Delete { id: row, rev: 1, shares: 0 }]).await;
    assert!(matches!(edit, Err(EditError::Unavailable(_))));
}

#[tokio::test]
async fn a_key_is_found_while_the_generation_is_not() {
    let rig = Rig::start().await;
    let store = rig.store();
    let id = hash("k");
    store.edit(&[Edit::Create(key(&id, 1))]).await.unwrap();
    rig.tap.judge(|_, path| if path.ends_with("/generation") { Fate::Status(500) } else { Fate::Through });
    let opened = store.open(&id).await.unwrap();
    assert_eq!((opened.row.unwrap().rev, opened.generation), (1, None));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_counts_once() {
    let rig = Rig::start().await;
    let store = rig.store();
    let id = RowId::key(&hash("k"));
    store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    for fate in [Fate::AnswerLost, Fate::Broken, Fate::Status(500)] {
        let before = row(&*store, &id).await.unwrap().counters.get("n");
        let writes = Arc::new(AtomicUsize::new(0));
        rig.tap.judge(move |method: &Method, _| {
            let first = method == Method::POST && writes.fetch_add(1, Ordering::Relaxed) == 0;
            if first { fate } else { Fate::Through }
        });
        store.charge(&[add(&id, "n", 1)]).await.unwrap();
        assert_eq!(row(&*store, &id).await.unwrap().counters.get("n"), before + 1, "{fate:?}");
    }
}

#[tokio::test]
async fn a_document_that_makes_no_sense_is_named_and_not_shown() {
    let rig = Rig::start().await;
    let store = rig.store();
    let id = hash("k");
    for data in [
        serde_json::json!({"json": "canary"}),
        serde_json::json!({"json": r#"{"is":"row","rev":"canary"}"#}),
        serde_json::json!({"canary": 1}),
    ] {
        let path = format!("secret/data/{}/keys/row/key/{id}", rig.prefix);
        rig.server.write(&path, &serde_json::json!({"data": data})).await;
        let failure = store.open(&id).await.err().unwrap();
        assert_eq!(failure.to_string(), format!("the document row/key/{id} in Vault is malformed"));
        assert!(!format!("{failure:?}").contains("canary"));
    }
}
