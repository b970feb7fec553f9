//! What a process leaves behind that dies in the middle of a change, and who puts it right.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use keyturn_keys::KeyHash;
use keyturn_keys::store::{Definition, Edit, EditError, Filter, Kind, Listing, RowId};
use keyturn_tests::openbao::Fate;

use crate::port::{add, hash, key, row};
use crate::rig::Rig;

/// A key that has an alias and a team.
fn definition(id: &KeyHash, rev: i64, alias: &str, team: &str) -> Definition {
    let mut definition = key(id, rev);
    definition.index.alias = Some(alias.to_owned());
    definition.index.team_id = Some(team.to_owned());
    definition
}

fn creation(id: KeyHash) -> Vec<Edit> {
    vec![Edit::Claim { alias: "a".to_owned(), id }, Edit::Create(definition(&id, 1, "a", "t"))]
}

/// A key is renamed, moves to another team and gets a second value.
fn change(id: KeyHash) -> Vec<Edit> {
    let mut to = definition(&id, 2, "b", "u");
    to.text = format!(r#"{{"hashes":["{}"]}}"#, hash("later"));
    vec![
        Edit::Replace { from: 1, to },
        Edit::Claim { alias: "b".to_owned(), id },
        Edit::Release { alias: "a".to_owned(), id },
        Edit::Point { hash: hash("later"), id, until: None },
    ]
}

fn deletion(id: KeyHash) -> Vec<Edit> {
    vec![
        Edit::Delete { id: RowId::key(&id), rev: 2, shares: 0 },
        Edit::Release { alias: "b".to_owned(), id },
        Edit::Unpoint { hash: hash("later") },
    ]
}

/// From the call number `calls` on, nothing reaches Vault: the process is dead.
fn die_after(rig: &Rig, calls: usize) {
    let seen = AtomicUsize::new(0);
    rig.tap.judge(move |_: &Method, _| match seen.fetch_add(1, Ordering::Relaxed) {
        call if call < calls => Fate::Through,
        _ => Fate::Status(503),
    });
}

fn live(rig: &Rig) {
    rig.tap.judge(|_, _| Fate::Through);
}

async fn ages(rig: &Rig, filter: Filter) -> Vec<i64> {
    let listing = Listing { filter, descending: false, limit: 10, skip: 0, from: None };
    rig.store().list(&listing).await.unwrap().rows.iter().map(|row| row.rev).collect()
}

/// Whatever was left over and may be put right has been.
async fn sweep(rig: &Rig) {
    // Something is found to be left over, and says so; then it is deleted; then nothing is due.
    for _ in 0..3 {
        rig.settle();
        for filter in [
            Filter::All(Kind::Key),
            Filter::Alias(String::new()),
            Filter::Team("t".to_owned()),
            Filter::Team("u".to_owned()),
        ] {
            ages(rig, filter).await;
        }
        rig.store().edit(&[]).await.unwrap();
    }
}

/// Breaks `change` after every single call, and proves that it can be made again at once, and that in the end nothing
/// is there that should not be.
async fn broken_anywhere(
    before: &[fn(KeyHash) -> Vec<Edit>],
    change: fn(KeyHash) -> Vec<Edit>,
    left: &[&str],
) {
    let mut calls = 0;
    loop {
        let rig = Rig::start().await;
        let id = hash("key");
        let store = rig.store();
        for edits in before {
            store.edit(&edits(id)).await.unwrap();
        }
        // Another process: its client has not even logged in.
        let dying = rig.store();
        die_after(&rig, calls);
        let outcome = dying.edit(&change(id)).await;
        live(&rig);
        // A key that is there has its alias and its values, whatever has become of the change.
        if let Some(row) = row(&*store, &RowId::key(&id)).await {
            let alias = if row.rev == 1 { "a" } else { "b" };
            assert_eq!(store.aliased(alias).await.unwrap(), Some(id), "after {calls} calls");
            let later = store.open(&hash("later")).await.unwrap();
            assert!(row.rev == 1 || later.row.is_some(), "after {calls} calls");
        }
        if outcome.is_ok() {
            // The markers and the sweep at the end may fail; the change is made.
            assert!(calls > 5, "nothing was broken");
        }
        // Again, by a process that lives. What was deleted is not there to be deleted again.
        match store.edit(&change(id)).await {
            Ok(()) => {}
            Err(EditError::Conflict(place)) => {
                let edits = change(id);
                assert!(matches!(edits[place], Edit::Delete { .. }), "after {calls} calls: {place}");
                assert!(row(&*store, &RowId::key(&id)).await.is_none());
            }
            Err(error) => panic!("after {calls} calls: {error}"),
        }
        sweep(&rig).await;
        let mut paths = rig.paths("").await;
        for path in &mut paths {
            // Marks are times.
            if path.starts_with("by/") {
                let end = path.rfind('.').unwrap();
                path.truncate(end);
            }
        }
        let expected: Vec<String> = left.iter().map(|path| path.replace("ID", &id.to_string())).collect();
        assert_eq!(paths, expected, "after {calls} calls");
        if outcome.is_ok() {
            return;
        }
        calls += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_broken_anywhere_leaves_nothing() {
    let left = ["alias/a", "by/alias/a.ID", "by/key/AGE1.ID", "by/team-of-key/t/AGE1.ID", "row/key/ID"];
    broken_anywhere(
        &[],
        creation,
        &left.map(|path| path.replace("AGE1", AGE1)).each_ref().map(String::as_str),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_broken_anywhere_leaves_nothing() {
    let later = format!("row/key/{}", hash("later"));
    let mut left =
        ["alias/b", "by/alias/b.ID", "by/key/AGE2.ID", "by/team-of-key/u/AGE2.ID", "row/key/ID", &later]
            .map(|path| path.replace("AGE2", AGE2).replace("ID", &hash("key").to_string()));
    left.sort_unstable();
    broken_anywhere(&[creation], change, &left.each_ref().map(String::as_str)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_broken_anywhere_leaves_nothing() {
    broken_anywhere(&[creation, change], deletion, &[]).await;
}

/// The first and the second microsecond of 2026, plus one, as markers have them.
const AGE1: &str = "09225139262454775809";
const AGE2: &str = "09225139262454775810";

#[tokio::test]
async fn a_change_that_fails_in_the_middle_is_undone() {
    let id = hash("key");
    for failing in
        ["/alias/b".to_owned(), format!("/{}", hash("later")), format!("/{id}"), "/alias/a".to_owned()]
    {
        let rig = Rig::start().await;
        let (store, other) = (rig.store(), rig.store());
        store.edit(&creation(id)).await.unwrap();
        store.charge(&[add(&RowId::key(&id), "n", 1)]).await.unwrap();
        let path = failing.clone();
        // As often as a write is tried; what takes the others back goes through.
        let tries = AtomicUsize::new(0);
        rig.tap.judge(move |method: &Method, called: &str| {
            let fails = method == Method::POST && called.ends_with(&path);
            if fails && tries.fetch_add(1, Ordering::Relaxed) < 3 { Fate::Status(500) } else { Fate::Through }
        });
        assert!(matches!(store.edit(&change(id)).await, Err(EditError::Unavailable(_))), "{failing}");
        live(&rig);
        let found = row(&*other, &RowId::key(&id)).await.unwrap();
        assert_eq!((found.rev, found.counters.get("n")), (1, 1), "{failing}");
        assert_eq!(other.aliased("a").await.unwrap(), Some(id));
        assert_eq!(other.aliased("b").await.unwrap(), None);
        assert!(other.open(&hash("later")).await.unwrap().row.is_none());
        assert_eq!(ages(&rig, Filter::Team("t".to_owned())).await, [1]);
        assert_eq!(other.count(&Filter::Team("u".to_owned())).await.unwrap(), 0);
        other.edit(&change(id)).await.unwrap();
        assert_eq!(other.aliased("b").await.unwrap(), Some(id));
    }
}

#[tokio::test]
async fn an_alias_that_nobody_has_any_more_can_be_taken_when_all_is_settled() {
    let rig = Rig::start().await;
    let store = rig.store();
    let [one, two] = [hash("one"), hash("two")];
    // Its key never came.
    let claim = |id| [Edit::Claim { alias: "a".to_owned(), id }];
    store.edit(&claim(one)).await.unwrap();
    assert!(matches!(store.edit(&claim(two)).await, Err(EditError::Conflict(0))));
    rig.settle();
    store.edit(&claim(two)).await.unwrap();
    assert_eq!(store.aliased("a").await.unwrap(), Some(two));
}

#[tokio::test]
async fn a_deleted_row_made_again_does_not_take_old_writes() {
    let rig = Rig::start().await;
    let (store, other) = (rig.store(), rig.store());
    let id = RowId::key(&hash("key"));
    let make = |rev| [Edit::Create(key(&hash("key"), rev))];
    store.edit(&make(1)).await.unwrap();
    // The other process remembers version 2 of the document.
    other.charge(&[add(&id, "n", 1)]).await.unwrap();
    store.edit(&[Edit::Delete { id: id.clone(), rev: 1, shares: 0 }]).await.unwrap();
    store.edit(&make(2)).await.unwrap();
    other.charge(&[add(&id, "n", 1)]).await.unwrap();
    let found = row(&*store, &id).await.unwrap();
    assert_eq!((found.rev, found.counters.get("n")), (2, 1));
}

#[tokio::test]
async fn a_pointer_goes_when_its_time_is_over() {
    let rig = Rig::start().await;
    let store = rig.store();
    let (id, later) = (hash("key"), hash("later"));
    let mut definition = key(&id, 1);
    definition.text = format!(r#"{{"hashes":["{later}"]}}"#);
    let until = keyturn_ambient::Clock::now(&*rig.clock) + std::time::Duration::from_secs(3600);
    let point = Edit::Point { hash: later, id, until: Some(until) };
    store.edit(&[Edit::Create(definition), point]).await.unwrap();
    sweep(&rig).await;
    assert!(store.open(&later).await.unwrap().row.is_some(), "it is good for an hour");
    rig.clock.advance(std::time::Duration::from_secs(3600));
    sweep(&rig).await;
    assert!(store.open(&later).await.unwrap().row.is_none());
    assert!(rig.paths("due/").await.is_empty());
    assert_eq!(rig.paths("row/key/").await, [format!("row/key/{id}")]);
}
