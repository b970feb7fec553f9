//! The table is down, slow, throttled or holds nonsense; answers get lost; transactions are in each other's way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use jiff::civil::date;
use keyturn_keys::ledger::Require;
use keyturn_keys::store::{
    Charged, Edit, EditError, Filter, Kind, Listing, Opened, Refused, RowId, StoreFailure, Usage, UsageLine,
    UsageQuery,
};
use keyturn_keys::{AdmissionStore, DynamoKeyStore, KeyStore};
use serde_json::{Value, json};

use crate::port::{add, hash, key, named, row, under};
use crate::server::{Dynamo, TABLE, config, n, s};

/// What happens to a call.
#[derive(Debug, Clone)]
enum Fate {
    /// It is made, and its answer is lost.
    Lost,
    /// It gets this answer instead.
    Answer(u16, String),
}

/// A connection on which the next calls meet their fates; those after them go through.
#[derive(Debug, Clone)]
struct Line {
    to: SharedHttpClient,
    connector: Option<SharedHttpConnector>,
    fates: Arc<Mutex<VecDeque<Fate>>>,
}

impl Line {
    fn to(endpoint: &str) -> Self {
        let to = config(endpoint).build().http_client().unwrap();
        Self { to, connector: None, fates: Arc::default() }
    }

    /// A store behind it, whose client makes so many attempts.
    fn store(&self, endpoint: &str, attempts: u32) -> DynamoKeyStore {
        let retry = RetryConfig::standard()
            .with_max_attempts(attempts)
            .with_initial_backoff(Duration::from_millis(1));
        let config = config(endpoint).http_client(self.clone()).retry_config(retry);
        DynamoKeyStore::new(Client::from_conf(config.build()), TABLE.to_owned())
    }

    fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    /// How many fates nobody has met.
    fn left(&self) -> usize {
        self.fates.lock().unwrap().len()
    }
}

impl HttpClient for Line {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = Some(self.to.http_connector(settings, components));
        SharedHttpConnector::new(Self { connector, ..self.clone() })
    }
}

impl HttpConnector for Line {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let fate = self.fates.lock().unwrap().pop_front();
        let connector = self.connector.clone().unwrap();
        HttpConnectorFuture::new(async move {
            match fate {
                None => connector.call(request).await,
                Some(Fate::Lost) => {
                    connector.call(request).await?;
                    Err(ConnectorError::io("the answer is lost".into()))
                }
                Some(Fate::Answer(status, body)) => {
                    Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
                }
            }
        })
    }
}

fn error(name: &str) -> Fate {
    Fate::Answer(
        400,
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": name}).to_string(),
    )
}

/// A cancelled transaction.
fn cancelled(reasons: &Value) -> Fate {
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    Fate::Answer(
        400,
        json!({"__type": kind, "CancellationReasons": reasons, "Message": "cancelled"}).to_string(),
    )
}

fn in_the_way() -> Fate {
    cancelled(&json!([{"Code": "TransactionConflict", "Message": "conflict"}, {"Code": "None"}]))
}

/// Every call of the port, by name, and how it failed.
async fn failures(store: &dyn KeyStore) -> Vec<(&'static str, String)> {
    fn failed<T>(outcome: Result<T, StoreFailure>) -> String {
        outcome.err().map_or_else(|| "it succeeded".to_owned(), |failure| failure.to_string())
    }
    let id = RowId::key(&hash("somebody"));
    let listing =
        Listing { filter: Filter::All(Kind::Key), descending: false, limit: 1, skip: 0, from: None };
    let day = date(2026, 11, 20);
    let line = UsageLine {
        day,
        key: None,
        team_id: None,
        user_id: None,
        model: String::new(),
        tags: Vec::new(),
        usage: Usage::default(),
    };
    let one = add(&id, "a", 1);
    let edited = match store.edit(&[Edit::Create(key(&hash("a"), 1))]).await {
        Err(EditError::Unavailable(failure)) => failure.to_string(),
        other => panic!("{other:?}"),
    };
    vec![
        ("open", failed(store.open(&hash("somebody")).await)),
        ("read", failed(store.read(std::slice::from_ref(&id)).await)),
        ("read_shares", failed(store.read_shares(&id, 2).await)),
        ("charge one", failed(store.charge(std::slice::from_ref(&one)).await)),
        ("charge two", failed(store.charge(&[one, add(&RowId::named(Kind::Team, "b"), "a", 1)]).await)),
        ("charge none", failed(store.charge(&[under(add(&id, "a", 0), &[Require::Exists])]).await)),
        ("edit", edited),
        ("aliased", failed(store.aliased("a").await)),
        ("list", failed(store.list(&listing).await)),
        ("list behind", failed(store.list(&Listing { skip: 5, ..listing }).await)),
        ("count", failed(store.count(&Filter::Team("a".to_owned())).await)),
        ("count all", failed(store.count(&Filter::All(Kind::Team)).await)),
        ("generation", failed(store.generation().await)),
        ("next_generation", failed(store.next_generation().await)),
        ("log_usage", failed(store.log_usage(&line, 0).await)),
        ("usage", failed(store.usage(&UsageQuery { from: day, to: day, key: None }).await)),
    ]
}

#[tokio::test]
async fn an_outage_is_a_failure_of_every_call() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    dynamo.stop().await;
    for (call, failure) in failures(&store).await {
        assert!(failure.starts_with("dispatch failure"), "{call}: {failure}");
    }
}

#[tokio::test]
async fn throttling_denial_and_errors_of_dynamodb_are_named_in_the_log() {
    let line = Line::to("http://127.0.0.1:1");
    let store = line.store("http://127.0.0.1:1", 1);
    let kinds = ["ProvisionedThroughputExceededException", "ThrottlingException", "AccessDeniedException"];
    let answers = kinds.map(|kind| (error(kind), kind)).into_iter();
    let answers = answers.chain([(Fate::Answer(500, "{}".to_owned()), "DynamoDB")]);
    for (answer, kind) in answers {
        // `usage` asks sixteen times and more.
        line.next(vec![answer; 40]);
        for (call, failure) in failures(&store).await {
            assert!(failure.contains(kind), "{call}: {failure}");
        }
        line.fates.lock().unwrap().clear();
    }
}

#[tokio::test]
async fn a_transaction_whose_answer_is_lost_is_made_once() {
    let dynamo = Dynamo::start().await;
    let line = Line::to(&dynamo.endpoint);
    let store = line.store(&dynamo.endpoint, 3);
    let ids = [RowId::key(&hash("lost")), RowId::named(Kind::Team, "lost")];
    line.next([Fate::Lost]);
    store.edit(&ids.clone().map(|id| Edit::Create(named(id, 1)))).await.unwrap();
    line.next([Fate::Lost, Fate::Lost]);
    let both = ids.clone().map(|id| add(&id, "spend", 7));
    assert!(matches!(store.charge(&both).await.unwrap(), Charged::Done(_)));
    assert_eq!(line.left(), 0);
    for id in &ids {
        assert_eq!(row(&store, id).await.unwrap().counters.get("spend"), 7);
    }
}

#[tokio::test]
async fn a_change_of_definitions_can_be_made_again_when_its_answer_was_lost_for_good() {
    let dynamo = Dynamo::start().await;
    let line = Line::to(&dynamo.endpoint);
    let store = line.store(&dynamo.endpoint, 1);
    let id = hash("again");
    let changes = [
        vec![Edit::Create(key(&id, 1)), Edit::Claim { alias: "one".to_owned(), id }],
        vec![
            Edit::Replace { from: 1, to: key(&id, 2) },
            Edit::Release { alias: "one".to_owned(), id },
            Edit::Claim { alias: "two".to_owned(), id },
            Edit::Point { hash: hash("later"), id, until: None },
        ],
    ];
    for edits in &changes {
        line.next([Fate::Lost]);
        assert!(matches!(store.edit(edits).await, Err(EditError::Unavailable(_))));
        store.edit(edits).await.unwrap();
    }
    assert_eq!(store.count(&Filter::All(Kind::Key)).await.unwrap(), 1);
    assert_eq!(store.aliased("one").await.unwrap(), None);
    assert_eq!(store.aliased("two").await.unwrap(), Some(id));
    // Another change from the same revision is not taken for it.
    let mut other = key(&id, 2);
    other.text = r#"{"other":true}"#.to_owned();
    let error = store.edit(&[Edit::Replace { from: 1, to: other }]).await.unwrap_err();
    assert!(matches!(error, EditError::Conflict(0)), "{error}");
}

#[tokio::test]
async fn what_is_in_the_way_passes() {
    let dynamo = Dynamo::start().await;
    let line = Line::to(&dynamo.endpoint);
    let store = line.store(&dynamo.endpoint, 1);
    let ids = [RowId::key(&hash("busy")), RowId::named(Kind::Team, "busy")];
    let throttled = cancelled(&json!([{"Code": "ThrottlingError"}, {"Code": "None"}]));
    line.next([in_the_way(), throttled.clone()]);
    store.edit(&ids.clone().map(|id| Edit::Create(named(id, 1)))).await.unwrap();
    line.next([in_the_way(), throttled, in_the_way()]);
    let both = ids.clone().map(|id| add(&id, "spend", 1));
    assert!(matches!(store.charge(&both).await.unwrap(), Charged::Done(_)));
    line.next([error("TransactionConflictException")]);
    assert!(matches!(store.charge(&both[..1]).await.unwrap(), Charged::Done(_)));
    assert_eq!(line.left(), 0);
    assert_eq!(row(&store, &ids[0]).await.unwrap().counters.get("spend"), 2);
    assert_eq!(row(&store, &ids[1]).await.unwrap().counters.get("spend"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_stays_in_the_way_is_a_failure() {
    let line = Line::to("http://127.0.0.1:1");
    let store = line.store("http://127.0.0.1:1", 1);
    let both = ["a", "b"].map(|id| add(&RowId::named(Kind::Team, id), "spend", 1));
    line.next(vec![in_the_way(); 10]);
    let failure = store.charge(&both).await.unwrap_err().to_string();
    assert!(failure.contains("in the way"), "{failure}");
    line.next(vec![error("TransactionConflictException"); 10]);
    assert!(store.charge(&both[..1]).await.unwrap_err().to_string().contains("in the way"));
    line.next(vec![in_the_way(); 10]);
    let error = store.edit(&[Edit::Create(key(&hash("a"), 1))]).await.unwrap_err();
    assert!(matches!(error, EditError::Unavailable(_)), "{error}");
    assert_eq!(line.left(), 0);
    // What does not pass is not tried again.
    let invalid = cancelled(&json!([{"Code": "ValidationError", "Message": "too large"}, {"Code": "None"}]));
    line.next([invalid.clone(), invalid]);
    store.charge(&both).await.unwrap_err();
    store.edit(&[Edit::Create(key(&hash("a"), 1))]).await.unwrap_err();
    assert_eq!(line.left(), 0);
}

#[tokio::test]
async fn a_refusal_counts_more_than_what_is_in_the_way() {
    let line = Line::to("http://127.0.0.1:1");
    let store = line.store("http://127.0.0.1:1", 1);
    let teams = ["a", "b", "c"].map(|id| add(&RowId::named(Kind::Team, id), "spend", 1));
    let item = json!({"pk": {"S": "TEAM#b"}, "sk": {"S": "ACCOUNT"}, "rev": {"N": "5"}, "spend": {"N": "9"}});
    line.next([cancelled(&json!([
        {"Code": "TransactionConflict"},
        {"Code": "ConditionalCheckFailed", "Item": item},
        {"Code": "ConditionalCheckFailed"},
    ]))]);
    let Charged::Refused(refused) = store.charge(&teams).await.unwrap() else { panic!("done") };
    let [Refused::Fits, Refused::Unfit(5, counters), Refused::Missing] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(counters.get("spend"), 9);
}

/// The answer to a read that left items unread.
fn left_unread(keys: &[(String, &str)]) -> Fate {
    let keys: Vec<_> = keys.iter().map(|(pk, sk)| json!({"pk": {"S": pk}, "sk": {"S": sk}})).collect();
    Fate::Answer(
        200,
        json!({"Responses": {TABLE: []}, "UnprocessedKeys": {TABLE: {"Keys": keys}}}).to_string(),
    )
}

fn nothing() -> Fate {
    Fate::Answer(200, json!({"Responses": {TABLE: []}}).to_string())
}

#[tokio::test]
async fn a_key_that_was_left_unread_is_not_unknown() {
    let line = Line::to("http://127.0.0.1:1");
    let store = line.store("http://127.0.0.1:1", 1);
    let id = hash("somebody");
    let pk = format!("KEY#{id}");
    for sk in ["ROW", "ACCOUNT"] {
        line.next(vec![left_unread(&[(pk.clone(), sk)]); 4]);
        assert!(store.open(&id).await.is_err());
        line.fates.lock().unwrap().clear();
    }
    line.next([left_unread(&[(pk, "ROW")]), nothing()]);
    assert!(matches!(store.open(&id).await.unwrap(), Opened { row: None, generation: Some(0) }));

    // Without the generation it is possible to go on.
    line.next(vec![left_unread(&[("GENERATION".to_owned(), "GENERATION")]); 3]);
    assert!(matches!(store.open(&id).await.unwrap(), Opened { row: None, generation: None }));
    assert_eq!(line.left(), 0);
}

#[tokio::test]
async fn rows_that_were_left_unread_are_asked_for_again() {
    let dynamo = Dynamo::start().await;
    let line = Line::to(&dynamo.endpoint);
    let store = line.store(&dynamo.endpoint, 1);
    let ids: Vec<_> = (0..5).map(|number| RowId::named(Kind::Team, &format!("unread-{number}"))).collect();
    let edits: Vec<_> = ids.iter().map(|id| Edit::Create(named(id.clone(), 1))).collect();
    store.edit(&edits).await.unwrap();
    let mut keys = Vec::new();
    for id in &ids {
        keys.extend(["ROW", "ACCOUNT"].map(|sk| (format!("TEAM#{}", id.id), sk)));
    }
    line.next(vec![left_unread(&keys); 3]);
    let rows = store.read(&ids).await.unwrap();
    assert_eq!(line.left(), 0);
    assert!(rows.iter().zip(&ids).all(|(row, id)| row.as_ref().unwrap().id == *id));
}

#[tokio::test]
async fn nonsense_in_the_table_names_the_attribute_and_shows_no_value() {
    let dynamo = Dynamo::start().await;
    let store = dynamo.store();
    let nonsense = || [s("a-value-that-is-not-for-the-log"), n("1.5")];
    let cases = [
        ("ROW", "rev"),
        ("ROW", "def"),
        ("ROW", "shares"),
        ("ROW", "leads_to"),
        ("ACCOUNT", "rev"),
        ("ACCOUNT", "spend"),
        ("ACCOUNT", "rs@1@0"),
    ];
    for (number, (sk, attribute)) in cases.into_iter().enumerate() {
        for (which, value) in nonsense().into_iter().enumerate() {
            let text = matches!(attribute, "def");
            if text && which == 0 {
                continue;
            }
            let id = hash(&format!("nonsense-{number}-{which}"));
            store.edit(&[Edit::Create(key(&id, 1))]).await.unwrap();
            let mut item = dynamo.item(&format!("KEY#{id}"), sk).await.unwrap();
            item.insert(attribute.to_owned(), value);
            dynamo.put(item).await;
            let failure = store.open(&id).await.err().unwrap().to_string();
            assert!(failure.contains(attribute), "{sk} {attribute}: {failure}");
            assert!(!failure.contains("a-value") && !failure.contains("1.5"), "{failure}");
        }
    }
    // A negative number of shares, and a cursor that is none.
    let id = hash("nonsense-shares");
    store.edit(&[Edit::Create(key(&id, 1))]).await.unwrap();
    let mut item = dynamo.item(&format!("KEY#{id}"), "ROW").await.unwrap();
    item.insert("shares".to_owned(), n("-1"));
    dynamo.put(item).await;
    assert!(store.open(&id).await.err().unwrap().to_string().contains("shares"));
    let filter = Filter::All(Kind::Key);
    let listing = Listing { filter, descending: false, limit: 1, skip: 0, from: Some("nonsense".to_owned()) };
    assert!(store.list(&listing).await.err().unwrap().is_bad_place());
}
