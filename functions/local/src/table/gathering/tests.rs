use keyturn_keys::store::Kind;

use super::*;

/// Whose counters, and what is added to them.
type Written = (String, Vec<(String, i64)>);

/// Keeps the charges it is asked for, and makes them unless their account is down.
#[derive(Default)]
struct Ledger {
    charged: Mutex<Vec<Written>>,
    down: Option<&'static str>,
}

#[async_trait]
impl Layer for Ledger {
    fn inner(&self) -> &dyn KeyStore {
        unreachable!("only settlements are asked for")
    }

    async fn charge(&self, charges: &[Charge]) -> Result<Charged, StoreFailure> {
        for Charge { account, change } in charges {
            self.charged.lock().unwrap().push((account.row.id.clone(), change.add.clone()));
            if self.down == Some(&account.row.id) {
                return Err(StoreFailure::new(format!("{} is down", account.row.id)));
            }
        }
        Ok(Charged::Done(vec![None; charges.len()]))
    }

    async fn read(&self, _: &[RowId]) -> Result<Vec<Option<Row>>, StoreFailure> {
        Ok(Vec::new())
    }
}

impl Ledger {
    /// What it was asked to add, sorted.
    fn charged(&self) -> Vec<Written> {
        let mut charged = self.charged.lock().unwrap().clone();
        charged.sort();
        charged
    }
}

/// Settles what an account without limits spent.
async fn settle(store: &impl KeyStore, id: &str) -> Result<(), StoreFailure> {
    let account = Account { row: RowId::named(Kind::Team, id), share: 0 };
    let mut change = Change { require: vec![Require::Exists], ..Change::default() };
    change.add("spend", 10);
    store.charge(&[Charge { account, change }]).await.map(drop)
}

async fn read(store: &impl KeyStore) -> Result<(), StoreFailure> {
    store.read(&[]).await.map(drop)
}

/// Asks, and goes away before there is an answer.
async fn give_up(asking: impl Future<Output = Result<(), StoreFailure>>) {
    tokio::select! {
        biased;
        _ = asking => panic!("there is an answer already"),
        () = std::future::ready(()) => {}
    }
}

fn written(id: &str, spend: i64) -> Written {
    (id.to_owned(), vec![("spend".to_owned(), spend)])
}

#[tokio::test(start_paused = true)]
async fn what_an_account_spends_in_a_moment_is_one_write() {
    let gathering = Gathering::new(Ledger::default());
    let settle = |id| settle(&gathering, id);
    let outcomes = tokio::join!(settle("a"), settle("a"), settle("a"), settle("b"));
    assert!(matches!(outcomes, (Ok(()), Ok(()), Ok(()), Ok(()))));
    assert_eq!(gathering.store.charged(), [written("a", 30), written("b", 10)]);
    // The next moment.
    settle("a").await.unwrap();
    assert_eq!(gathering.store.charged(), [written("a", 10), written("a", 30), written("b", 10)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_gathered_is_written_though_its_requester_went_away() {
    let gathering = Gathering::new(Ledger::default());
    give_up(settle(&gathering, "a")).await;
    settle(&gathering, "a").await.unwrap();
    gathering.written().await;
    assert_eq!(gathering.store.charged(), [written("a", 20)]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_told() {
    let gathering = Gathering::new(Ledger { down: Some("a"), ..Ledger::default() });
    let failure = settle(&gathering, "a").await.unwrap_err();
    assert_eq!(failure.to_string(), "a is down");
}

#[tokio::test(start_paused = true)]
async fn a_failing_account_does_not_lose_the_others() {
    let gathering = Gathering::new(Ledger { down: Some("b"), ..Ledger::default() });
    let ids = ["a", "b", "c", "d", "e", "f"];
    for id in ids {
        give_up(settle(&gathering, id)).await;
    }
    assert_eq!(read(&gathering).await.unwrap_err().to_string(), "b is down");
    assert_eq!(gathering.store.charged(), ids.map(|id| written(id, 10)));
    // It is told once, and nothing is written twice.
    read(&gathering).await.unwrap();
    gathering.written().await;
    assert_eq!(gathering.store.charged(), ids.map(|id| written(id, 10)));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_goes_away_loses_nothing() {
    let gathering = Gathering::new(Ledger::default());
    give_up(settle(&gathering, "a")).await;
    give_up(read(&gathering)).await;
    gathering.written().await;
    assert_eq!(gathering.store.charged(), [written("a", 10)]);
}
