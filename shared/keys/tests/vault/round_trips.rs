//! What each call costs.

use jiff::civil::date;
use keyturn_keys::ledger::Require;
use keyturn_keys::store::{Charged, Edit, Filter, Kind, Listing, RowId, Usage, UsageLine, UsageQuery};
use std::time::Duration;

use crate::port::{add, hash, key, named, under};
use crate::rig::Rig;

#[tokio::test]
async fn each_call_costs_what_the_module_says() {
    let rig = Rig::start().await;
    let store = rig.store();
    let id = hash("one");
    let row = RowId::key(&id);
    let mut before = rig.calls();
    let mut cost = || {
        let now = rig.calls();
        let cost = [0, 1, 2].map(|kind| now[kind] - before[kind]);
        before = now;
        cost
    };
    store.edit(&[Edit::Create(key(&id, 1))]).await.unwrap();
    cost();

    store.open(&id).await.unwrap();
    assert_eq!(cost(), [2, 0, 0]);
    store.open(&hash("nobody")).await.unwrap();
    assert_eq!(cost(), [2, 0, 0]);
    store.edit(&[Edit::Point { hash: hash("later"), id, until: None }]).await.unwrap();
    cost();
    store.open(&hash("later")).await.unwrap();
    assert_eq!(cost(), [3, 0, 0]);

    store.charge(&[add(&row, "n", 1)]).await.unwrap();
    assert_eq!(cost(), [1, 1, 0], "the first reads");
    store.charge(&[add(&row, "n", 1)]).await.unwrap();
    assert_eq!(cost(), [0, 1, 0], "the next does not");
    let refused = under(add(&row, "n", 1), &[Require::AtMost("n".to_owned(), 0)]);
    assert!(matches!(store.charge(&[refused]).await.unwrap(), Charged::Refused(_)));
    assert_eq!(cost(), [1, 0, 0], "a refusal is of what is there now");
    rig.clock.advance(Duration::from_secs(11));
    store.charge(&[add(&row, "n", 1)]).await.unwrap();
    assert_eq!(cost(), [1, 1, 0], "what is remembered grows old");

    let line = UsageLine {
        day: date(2026, 1, 1),
        key: Some(id),
        team_id: None,
        user_id: None,
        model: "m".to_owned(),
        tags: Vec::new(),
        usage: Usage::default(),
    };
    store.log_usage(&line, 0).await.unwrap();
    store.log_usage(&line, 0).await.unwrap();
    assert_eq!(cost(), [1, 2, 0]);
    let query = |key| UsageQuery { from: date(2025, 12, 1), to: date(2026, 1, 31), key };
    store.usage(&query(Some(id))).await.unwrap();
    assert_eq!(cost(), [2, 0, 0]);
    store.usage(&query(None)).await.unwrap();
    assert_eq!(cost(), [1, 0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_at_the_same_time_is_written_together() {
    let rig = Rig::start().await;
    let store = rig.store();
    let id = RowId::named(Kind::Team, "t");
    store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    let [_, before, _] = rig.calls();
    let charges = (0..500).map(|_| {
        let (store, id) = (std::sync::Arc::clone(&store), id.clone());
        async move { store.charge(&[add(&id, "n", 1)]).await.unwrap() }
    });
    futures_util::future::join_all(charges).await;
    let [_, after, _] = rig.calls();
    // The first may go alone, and the others have come when it is back.
    assert!(after - before < 100, "{} writes", after - before);
    let found = store.read(&[id]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().counters.get("n"), 500);
}

#[tokio::test]
async fn a_page_reads_its_own_rows() {
    let rig = Rig::start().await;
    let store = rig.store();
    for number in 0..40 {
        store.edit(&[Edit::Create(key(&hash(&number.to_string()), number + 1))]).await.unwrap();
    }
    let [reads, _, lists] = rig.calls();
    let filter = Filter::All(Kind::Key);
    let listing = Listing { filter, descending: true, limit: 5, skip: 20, from: None };
    let page = store.list(&listing).await.unwrap();
    assert_eq!(page.rows.iter().map(|row| row.rev).collect::<Vec<_>>(), [20, 19, 18, 17, 16]);
    let [reads_after, _, lists_after] = rig.calls();
    // Some are read ahead while the page fills.
    assert_eq!(lists_after - lists, 1);
    assert!((6..=12).contains(&(reads_after - reads)), "{}", reads_after - reads);
}
