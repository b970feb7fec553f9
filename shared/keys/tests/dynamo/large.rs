//! A table with many keys: a page costs the same wherever it is.

use std::collections::HashMap;

use dynoxide::{AttributeValue as Value, ImportOptions};
use keyturn_keys::KeyStore;
use keyturn_keys::store::{Edit, Filter, Kind, Listing};

use crate::port::{hash, key};
use crate::server::{Dynamo, Item, TABLE};

const KEYS: usize = 20_000;
/// A page of a hundred keys: the keys of their items, and twice a hundred items.
const PAGE: [&str; 3] = ["Query", "BatchGetItem", "BatchGetItem"];

/// Fills the table with copies of a key that the store has made.
async fn fill(dynamo: &Dynamo) {
    let id = hash("template");
    let mut definition = key(&id, 1);
    definition.index.alias = Some("alias/0000000".to_owned());
    definition.index.team_id = Some("team".to_owned());
    dynamo.store().edit(&[Edit::Create(definition)]).await.unwrap();
    let mut parts = Vec::new();
    for sk in ["ROW", "ACCOUNT"] {
        parts.push(converted(dynamo.item(&format!("KEY#{id}"), sk).await.unwrap()));
    }
    let items = (1..KEYS).flat_map(|number| parts.iter().map(move |part| copy(part, number)));
    dynamo.database.import_items(TABLE, items.collect(), ImportOptions::default()).unwrap();
}

fn converted(item: Item) -> HashMap<String, Value> {
    let value = |value| match value {
        aws_sdk_dynamodb::types::AttributeValue::S(text) => Value::S(text),
        aws_sdk_dynamodb::types::AttributeValue::N(number) => Value::N(number),
        other => panic!("{other:?}"),
    };
    item.into_iter().map(|(name, attribute)| (name, value(attribute))).collect()
}

fn copy(part: &HashMap<String, Value>, number: usize) -> HashMap<String, Value> {
    let mut item = part.clone();
    item.insert("pk".to_owned(), Value::S(format!("KEY#{}", hash(&number.to_string()))));
    if item.contains_key("created_at") {
        item.insert("created_at".to_owned(), Value::S(format!("2026-01-02T00:00:00.{number:06}Z")));
        item.insert("key_alias".to_owned(), Value::S(format!("alias/{number:07}")));
    }
    item
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_large_table_costs_the_same_everywhere() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    fill(&dynamo).await;
    dynamo.calls();
    let filters =
        [Filter::All(Kind::Key), Filter::Team("team".to_owned()), Filter::Alias("alias/".to_owned())];
    for filter in filters {
        for descending in [false, true] {
            let listing = Listing { filter: filter.clone(), descending, limit: 100, skip: 0, from: None };
            let first = store.list(&listing).await.unwrap();
            assert_eq!(dynamo.calls(), PAGE);
            assert_eq!(first.rows.len(), 100);
            let second = store.list(&Listing { from: first.next, ..listing }).await.unwrap();
            assert_eq!(dynamo.calls(), PAGE);
            assert_eq!(second.rows.len(), 100);
        }
    }
    // Far behind: the keys before it are counted, some thousand in a call, and none of their items is read.
    let filter = Filter::All(Kind::Key);
    let listing = Listing { filter, descending: false, limit: 100, skip: KEYS - 150, from: None };
    let far = store.list(&listing).await.unwrap();
    let mut calls = dynamo.calls();
    assert_eq!(calls.split_off(calls.len() - PAGE.len()), PAGE);
    assert!(calls.iter().all(|call| call == "Query") && calls.len() < 50, "{} calls", calls.len());
    // On from there it is a page like any other.
    let last = store.list(&Listing { from: far.next, skip: 0, ..listing }).await.unwrap();
    assert_eq!(dynamo.calls(), ["Query", "BatchGetItem"]);
    assert_eq!((last.rows.len(), last.next), (50, None));
    // The copies were not made by the store, which counts what it makes.
    assert_eq!(store.count(&Filter::All(Kind::Key)).await.unwrap(), 1);
    assert_eq!(dynamo.calls(), ["BatchGetItem"]);
}
