//! What the port promises, the same for every store.

mod lists;

use std::sync::Arc;

use futures_util::future::join_all;
use jiff::Timestamp;
use keyturn_keys::ledger::{Change, Counters, Require};
use keyturn_keys::store::{
    Account, Charge, Charged, Definition, Edit, EditError, Filter, Index, Kind, Refused, Row, RowId,
};
use keyturn_keys::{KeyHash, KeyStore};
use secrecy::SecretString;

/// Runs everything on a store that is empty.
pub(crate) async fn suite(store: Arc<dyn KeyStore>) {
    rows_are_made_replaced_and_deleted(&*store).await;
    a_change_of_definitions_is_all_or_nothing(&*store).await;
    an_alias_has_one_key(&*store).await;
    a_hash_leads_to_one_key(&*store).await;
    counters_change_under_conditions(&*store).await;
    several_accounts_change_together(&*store).await;
    conditions_alone_change_nothing(&*store).await;
    numbers_beyond_64_bits_stay_at_the_end(&*store).await;
    the_generation_rises(&*store).await;
    lists::rows_are_listed_by_age_and_alias(&*store).await;
    lists::usage_adds_up(&*store).await;
    room_for_fifty_lets_fifty_through(store).await;
}

/// The hash of a text.
pub(crate) fn hash(text: &str) -> KeyHash {
    KeyHash::of(&SecretString::from(text))
}

/// A key made at a time of its own: `rev` microseconds after 2026 began.
pub(crate) fn key(id: &KeyHash, rev: i64) -> Definition {
    named(RowId::key(id), rev)
}

/// A row that is found by nothing but its kind.
pub(crate) fn named(id: RowId, rev: i64) -> Definition {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let created_at = Timestamp::from_microsecond(begin.as_microsecond() + rev).unwrap();
    let text = format!(r#"{{"rev":{rev}}}"#);
    let index = Index { created_at, alias: None, team_id: None, user_id: None };
    Definition { id, rev, text, index, shares: 0 }
}

pub(crate) async fn row(store: &dyn KeyStore, id: &RowId) -> Option<Row> {
    store.read(std::slice::from_ref(id)).await.unwrap().pop().unwrap()
}

/// A change of one account, without conditions.
pub(crate) fn add(row: &RowId, counter: &str, amount: i64) -> Charge {
    let account = Account { row: row.clone(), share: 0 };
    let mut change = Change::default();
    change.add(counter, amount);
    Charge { account, change }
}

/// The same, under conditions.
pub(crate) fn under(mut charge: Charge, require: &[Require]) -> Charge {
    charge.change.require.extend_from_slice(require);
    charge
}

fn counters(numbers: &[(&str, i64)]) -> Counters {
    numbers.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

fn done(charged: Charged) -> Vec<Option<Counters>> {
    match charged {
        Charged::Done(counters) => counters,
        Charged::Refused(refused) => panic!("{refused:?}"),
    }
}

fn refused(charged: Charged) -> Vec<Refused> {
    match charged {
        Charged::Refused(refused) => refused,
        Charged::Done(_) => panic!("it was done"),
    }
}

fn conflict(outcome: Result<(), EditError>) -> usize {
    match outcome {
        Err(EditError::Conflict(place)) => place,
        other => panic!("{other:?}"),
    }
}

fn at_most(counter: &str, bound: i64) -> Require {
    Require::AtMost(counter.to_owned(), bound)
}

async fn rows_are_made_replaced_and_deleted(store: &dyn KeyStore) {
    let id = RowId::key(&hash("rows"));
    assert!(row(store, &id).await.is_none());
    let before = store.count(&Filter::All(Kind::Key)).await.unwrap();
    store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    let made = row(store, &id).await.unwrap();
    assert_eq!((made.rev, &*made.definition, made.shares), (1, r#"{"rev":1}"#, 0));
    assert_eq!((made.id, made.counters), (id.clone(), Counters::default()));
    assert_eq!(store.count(&Filter::All(Kind::Key)).await.unwrap(), before + 1);
    // There can be only one; but to make the very same again, after an answer that was lost, does no harm.
    assert_eq!(conflict(store.edit(&[Edit::Create(named(id.clone(), 2))]).await), 0);
    store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();

    store.charge(&[add(&id, "spend", 5)]).await.unwrap();
    let replace = |from, to| [Edit::Replace { from, to: named(id.clone(), to) }];
    assert_eq!(conflict(store.edit(&replace(3, 4)).await), 0);
    store.edit(&replace(1, 4)).await.unwrap();
    store.edit(&replace(1, 4)).await.unwrap();
    let replaced = row(store, &id).await.unwrap();
    assert_eq!((replaced.rev, &*replaced.definition), (4, r#"{"rev":4}"#));
    assert_eq!(replaced.counters, counters(&[("spend", 5)]));
    // What requires the former revision fails.
    let stale = under(add(&id, "spend", 1), &[Require::Rev(1)]);
    assert!(matches!(refused(store.charge(&[stale]).await.unwrap())[..], [Refused::Unfit(4, _)]));

    let delete = |rev| [Edit::Delete { id: id.clone(), rev, shares: 0 }];
    assert_eq!(conflict(store.edit(&delete(1)).await), 0);
    store.edit(&delete(4)).await.unwrap();
    assert!(row(store, &id).await.is_none());
    assert_eq!(conflict(store.edit(&delete(4)).await), 0);
    assert_eq!(conflict(store.edit(&replace(4, 5)).await), 0);
    assert_eq!(store.count(&Filter::All(Kind::Key)).await.unwrap(), before);
    // A late change does not bring it back.
    let late = store.charge(&[add(&id, "spend", 1)]).await.unwrap();
    assert!(matches!(refused(late)[..], [Refused::Missing]));
    assert!(row(store, &id).await.is_none());
    // Made again, it starts anew.
    store.edit(&[Edit::Create(named(id.clone(), 6))]).await.unwrap();
    assert_eq!(row(store, &id).await.unwrap().counters, Counters::default());

    // Names are apart by kind, and any text is a name.
    let odd = [Kind::Team, Kind::User, Kind::Budget].map(|kind| RowId::named(kind, "a/../b#1 é@"));
    for (rev, id) in (10..).zip(&odd) {
        store.edit(&[Edit::Create(named(id.clone(), rev))]).await.unwrap();
    }
    let mut ids = odd.to_vec();
    ids.push(RowId::named(Kind::Team, "nobody"));
    ids.push(odd[0].clone());
    let found = store.read(&ids).await.unwrap();
    let revs: Vec<_> = found.iter().map(|row| row.as_ref().map(|row| row.rev)).collect();
    assert_eq!(revs, [Some(10), Some(11), Some(12), None, Some(10)]);
    assert!(store.read(&[]).await.unwrap().is_empty());
}

async fn a_change_of_definitions_is_all_or_nothing(store: &dyn KeyStore) {
    let [one, two] = ["all-1", "all-2"].map(|name| RowId::named(Kind::Team, name));
    store.edit(&[Edit::Create(named(one.clone(), 1))]).await.unwrap();
    let edits = [
        Edit::Create(named(two.clone(), 1)),
        Edit::Claim { alias: "all".to_owned(), id: hash("all") },
        Edit::Replace { from: 2, to: named(one.clone(), 3) },
    ];
    assert_eq!(conflict(store.edit(&edits).await), 2);
    assert!(row(store, &two).await.is_none());
    assert_eq!(store.aliased("all").await.unwrap(), None);
    assert_eq!(row(store, &one).await.unwrap().rev, 1);
    store.edit(&[]).await.unwrap();
}

async fn an_alias_has_one_key(store: &dyn KeyStore) {
    let [one, two] = [hash("alias-1"), hash("alias-2")];
    let claim = |id| [Edit::Claim { alias: "prod/billing".to_owned(), id }];
    let release = |id| [Edit::Release { alias: "prod/billing".to_owned(), id }];
    assert_eq!(store.aliased("prod/billing").await.unwrap(), None);
    store.edit(&claim(one)).await.unwrap();
    store.edit(&claim(one)).await.unwrap();
    assert_eq!(store.aliased("prod/billing").await.unwrap(), Some(one));
    assert_eq!(conflict(store.edit(&claim(two)).await), 0);
    assert_eq!(conflict(store.edit(&release(two)).await), 0);
    store.edit(&release(one)).await.unwrap();
    store.edit(&claim(two)).await.unwrap();
    assert_eq!(store.aliased("prod/billing").await.unwrap(), Some(two));
}

async fn a_hash_leads_to_one_key(store: &dyn KeyStore) {
    let [id, other, later] = [hash("lead-1"), hash("lead-2"), hash("lead-later")];
    store.edit(&[Edit::Create(key(&id, 1)), Edit::Create(key(&other, 2))]).await.unwrap();
    let point = |hash, id| [Edit::Point { hash, id, until: None }];
    assert!(store.open(&later).await.unwrap().row.is_none());
    store.edit(&point(later, id)).await.unwrap();
    store.edit(&point(later, id)).await.unwrap();
    for hash in [id, later] {
        assert_eq!(store.open(&hash).await.unwrap().row.unwrap().id, RowId::key(&id));
    }
    // It leads nowhere else, and it is nobody else's id.
    assert_eq!(conflict(store.edit(&point(later, other)).await), 0);
    assert_eq!(conflict(store.edit(&point(other, id)).await), 0);
    assert_eq!(conflict(store.edit(&[Edit::Create(key(&later, 3))]).await), 0);
    // To forget a hash is not to delete a key.
    assert_eq!(conflict(store.edit(&[Edit::Unpoint { hash: id }]).await), 0);
    for _ in 0..2 {
        store.edit(&[Edit::Unpoint { hash: later }]).await.unwrap();
        assert!(store.open(&later).await.unwrap().row.is_none());
    }
    assert!(store.open(&id).await.unwrap().row.is_some());
    // A pointer that is left over leads nowhere.
    store.edit(&point(later, id)).await.unwrap();
    store.edit(&[Edit::Delete { id: RowId::key(&id), rev: 1, shares: 0 }]).await.unwrap();
    assert!(store.open(&later).await.unwrap().row.is_none());
}

async fn counters_change_under_conditions(store: &dyn KeyStore) {
    let id = RowId::key(&hash("counters"));
    store.edit(&[Edit::Create(named(id.clone(), 7))]).await.unwrap();
    let name = "cm@1767225600#gpt-4o";
    let mut first = under(add(&id, name, 5), &[Require::Rev(7), at_most(name, 0)]);
    first.change.add("rs@5890000@0", 5);
    let after = done(store.charge(&[first]).await.unwrap());
    let now = counters(&[(name, 5), ("rs@5890000@0", 5)]);
    assert!(after.iter().flatten().all(|counters| *counters == now), "{after:?}");
    assert_eq!(row(store, &id).await.unwrap().counters, now);

    let text = ToOwned::to_owned;
    let cases = [
        (Require::Rev(8), false),
        (Require::Exists, true),
        (Require::Present(text(name)), true),
        (Require::Present(text("nothing")), false),
        (Require::Equal(text(name), 5), true),
        (Require::Equal(text(name), 4), false),
        (Require::Equal(text("nothing"), 0), false),
        (at_most(name, 5), true),
        (at_most(name, 4), false),
        (at_most("nothing", 0), true),
        (at_most("nothing", -1), false),
    ];
    let mut requests = 0;
    for (require, holds) in cases {
        let charge = under(add(&id, "rq@1", 1), &[Require::Rev(7), require.clone()]);
        match store.charge(&[charge]).await.unwrap() {
            Charged::Done(_) => {
                assert!(holds, "{require:?}");
                requests += 1;
            }
            Charged::Refused(refused) => {
                assert!(!holds, "{require:?}");
                let [Refused::Unfit(7, seen)] = &refused[..] else { panic!("{refused:?}") };
                assert_eq!((seen.get(name), seen.get("rq@1")), (5, requests));
            }
        }
    }
    // What has ended is taken off and forgotten, once.
    let ended = || {
        let slot = "rs@5890000@0";
        let mut charge = under(add(&id, name, -5), &[Require::Equal(slot.to_owned(), 5)]);
        charge.change.remove.push(slot.to_owned());
        [charge]
    };
    done(store.charge(&ended()).await.unwrap());
    refused(store.charge(&ended()).await.unwrap());
    let left = row(store, &id).await.unwrap().counters;
    assert_eq!(left, counters(&[(name, 0), ("rq@1", requests)]));
}

async fn several_accounts_change_together(store: &dyn KeyStore) {
    let ids = [
        RowId::key(&hash("together")),
        RowId::named(Kind::Team, "together"),
        RowId::named(Kind::User, "together"),
    ];
    for id in &ids {
        store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    }
    let spend = async |id: &RowId| row(store, id).await.unwrap().counters.get("spend");
    let charges = |bound| {
        let [key, team, user] = &ids;
        [
            under(add(key, "spend", 1), &[Require::Rev(1)]),
            under(add(team, "spend", 2), &[Require::Rev(1), at_most("spend", bound)]),
            // Nothing but a condition.
            under(add(user, "spend", 0), &[Require::Rev(1)]),
        ]
    };
    assert_eq!(done(store.charge(&charges(0)).await.unwrap()).len(), 3);
    let refusal = refused(store.charge(&charges(0)).await.unwrap());
    let [first, Refused::Unfit(1, team), last] = &refusal[..] else { panic!("{refusal:?}") };
    assert_eq!(team.get("spend"), 2);
    assert!(matches!((first, last), (Refused::Fits, Refused::Fits)));
    for (id, spent) in ids.iter().zip([1, 2, 0]) {
        assert_eq!(spend(id).await, spent);
    }

    store.edit(&[Edit::Replace { from: 1, to: named(ids[2].clone(), 2) }]).await.unwrap();
    let refusal = refused(store.charge(&charges(100)).await.unwrap());
    assert!(matches!(refusal[..], [Refused::Fits, Refused::Fits, Refused::Unfit(2, _)]), "{refusal:?}");
    store.edit(&[Edit::Delete { id: ids[2].clone(), rev: 2, shares: 0 }]).await.unwrap();
    let refusal = refused(store.charge(&charges(100)).await.unwrap());
    assert!(matches!(refusal[..], [Refused::Fits, Refused::Fits, Refused::Missing]), "{refusal:?}");
    assert_eq!((spend(&ids[0]).await, spend(&ids[1]).await), (1, 2));
}

async fn conditions_alone_change_nothing(store: &dyn KeyStore) {
    let [one, two] = ["check-1", "check-2"].map(|name| RowId::named(Kind::Team, name));
    store.edit(&[Edit::Create(named(one.clone(), 1)), Edit::Create(named(two.clone(), 1))]).await.unwrap();
    store.charge(&[add(&one, "spend", 3)]).await.unwrap();
    let check = |id: &RowId, require: Require| under(add(id, "spend", 0), &[require]);
    done(store.charge(&[check(&one, at_most("spend", 3))]).await.unwrap());
    let both = [check(&one, at_most("spend", 2)), check(&two, at_most("spend", 2))];
    let refusal = refused(store.charge(&both).await.unwrap());
    assert!(matches!(&refusal[..], [Refused::Unfit(1, _), Refused::Fits]), "{refusal:?}");
    let nobody = check(&RowId::named(Kind::Team, "check-3"), Require::Exists);
    let refusal = refused(store.charge(&[nobody]).await.unwrap());
    assert!(matches!(&refusal[..], [Refused::Missing]), "{refusal:?}");
    assert_eq!(row(store, &one).await.unwrap().counters, counters(&[("spend", 3)]));
}

async fn numbers_beyond_64_bits_stay_at_the_end(store: &dyn KeyStore) {
    let id = RowId::key(&hash("absurd"));
    store.edit(&[Edit::Create(named(id.clone(), 1))]).await.unwrap();
    for _ in 0..3 {
        store.charge(&[add(&id, "up", i64::MAX)]).await.unwrap();
        store.charge(&[add(&id, "down", i64::MIN)]).await.unwrap();
    }
    let found = row(store, &id).await.unwrap().counters;
    assert_eq!((found.get("up"), found.get("down")), (i64::MAX, i64::MIN));
}

async fn the_generation_rises(store: &dyn KeyStore) {
    let nobody = hash("generation");
    assert_eq!(store.generation().await.unwrap(), 0);
    assert_eq!(store.open(&nobody).await.unwrap().generation, Some(0));
    assert_eq!(store.next_generation().await.unwrap(), 1);
    assert_eq!(store.next_generation().await.unwrap(), 2);
    assert_eq!(store.generation().await.unwrap(), 2);
    assert_eq!(store.open(&nobody).await.unwrap().generation, Some(2));
}

async fn room_for_fifty_lets_fifty_through(store: Arc<dyn KeyStore>) {
    let [key, team] = [RowId::key(&hash("fifty")), RowId::named(Kind::Team, "fifty")];
    let make = [&key, &team].map(|id| Edit::Create(named(id.clone(), 1)));
    store.edit(&make).await.unwrap();
    for together in [false, true] {
        let counter = if together { "together" } else { "alone" };
        let requests = (0..200).map(|_| {
            let (store, key, team) = (Arc::clone(&store), key.clone(), team.clone());
            tokio::spawn(async move {
                let limited = under(add(&key, counter, 2), &[Require::Rev(1), at_most(counter, 98)]);
                let charges = if together { vec![limited, add(&team, counter, 1)] } else { vec![limited] };
                matches!(store.charge(&charges).await.unwrap(), Charged::Done(_))
            })
        });
        let outcomes = join_all(requests).await;
        assert_eq!(outcomes.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 50);
        assert_eq!(row(&*store, &key).await.unwrap().counters.get(counter), 100);
    }
    assert_eq!(row(&*store, &team).await.unwrap().counters, counters(&[("together", 50)]));
}
