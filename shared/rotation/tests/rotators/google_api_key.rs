//! `google_api_key` against a project with its keys.

use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{Ask, Credential, Issued, RotationError, Rotator};
use serde_json::{Value, json};

use crate::google::{ADMIN_ACCOUNT, ADMIN_KEY, TOKEN, admin_file, completion, error, pair, token};
use crate::rig::{
    Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, TOKEN as ROTATION, credential, faults,
    tells_nothing, time, value, with,
};

/// The key that was made by hand.
const FIRST: &str = "AIza-canary-first";

#[derive(Clone)]
struct Key {
    id: String,
    string: String,
    name: String,
    restrictions: Option<Value>,
    service_account: Option<String>,
    deleted: bool,
}

#[derive(Default)]
struct Project {
    keys: Vec<Key>,
    /// How often an operation is not done yet when it is looked at.
    polls: usize,
    /// The operations under way: how often they are looked at still, and what they say in the end.
    operations: Vec<(usize, Value)>,
    /// How the next operation ends, if badly.
    ends_with: Option<i32>,
    url: String,
    largest_page: usize,
}

struct World {
    rig: Rig,
    fake: Fake,
    project: Arc<Mutex<Project>>,
}

fn restrictions() -> Value {
    json!({"apiTargets": [{"service": "generativelanguage.googleapis.com"}], "serverKeyRestrictions": {"allowedIps": ["192.0.2.1"]}})
}

impl World {
    async fn new() -> Self {
        let first = Key {
            id: "b7ff1f9f-8275-410a-94dd-3855ee9b5dd2".to_owned(),
            string: FIRST.to_owned(),
            name: "made by hand".to_owned(),
            restrictions: Some(restrictions()),
            service_account: Some("gateway@project-1.iam.gserviceaccount.com".to_owned()),
            deleted: false,
        };
        let project = Project { keys: vec![first], largest_page: 100, ..Project::default() };
        let project = Arc::new(Mutex::new(project));
        let state = Arc::clone(&project);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        project.lock().unwrap().url = format!("{}/token", fake.url());
        Self { rig: Rig::new(&[("FILE", &admin_file()), ("TOKEN", TOKEN)]), fake, project }
    }

    fn project(&self) -> MutexGuard<'_, Project> {
        self.project.lock().unwrap()
    }

    fn settings(&self) -> Value {
        let url = self.fake.url();
        json!({
            "project": "project-1", "admin_token": "env:TOKEN",
            "api_base": url, "token_url": format!("{url}/token"), "endpoint": url,
        })
    }

    fn with(&self, more: &Value) -> Value {
        with(self.settings(), more)
    }

    fn rotator(&self) -> Box<dyn Rotator> {
        self.rig.rotator("google_api_key", self.settings())
    }

    async fn create(&self) -> Result<Credential, RotationError> {
        self.create_for(FIRST).await
    }

    async fn create_for(&self, current: &str) -> Result<Credential, RotationError> {
        let asking = Asking::of(&self.rig, current);
        self.rotator().create(&asking.ask()).await.map(|created| created.credential)
    }

    async fn issued(&self) -> Vec<Issued> {
        self.rotator().issued(PREFIX, &credential(FIRST)).await.unwrap()
    }
}

const KEYS: &str = "/v2/projects/project-1/locations/global/keys";

fn answer(project: &mut Project, arrived: &Arrived) -> Reply {
    if arrived.what() == ("POST", "/token") {
        return token(arrived, &project.url, |who, id| {
            (who == ADMIN_ACCOUNT && id == ADMIN_KEY).then(|| pair(0))
        });
    }
    if let Some(rest) = arrived.path.strip_prefix("/v1beta/models") {
        return gemini(project, arrived, rest);
    }
    if arrived.bearer() != TOKEN {
        return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
    }
    if let Some(id) = arrived.path.strip_prefix("/v2/operations/op-") {
        let (looks, end) = &mut project.operations[id.parse::<usize>().unwrap()];
        *looks = looks.saturating_sub(1);
        let name = format!("operations/op-{id}");
        return Reply::json(200, &if *looks > 0 { json!({"name": name}) } else { with_name(end, &name) });
    }
    if arrived.what() == ("GET", "/v2/keys:lookupKey") {
        let string = arrived.query.get("keyString").cloned().unwrap_or_default();
        return match project.keys.iter().find(|key| key.string == string) {
            None if string.starts_with("AIza") => error(404, "NOT_FOUND", "The API key is not found."),
            None => error(400, "INVALID_ARGUMENT", "The API key is not well-formed."),
            Some(key) => {
                Reply::json(200, &json!({"parent": "projects/12345/locations/global", "name": name(key)}))
            }
        };
    }
    // A project is known by its id and by its number.
    let path = arrived.path.replace("/projects/12345/", "/projects/project-1/");
    match path.strip_prefix(KEYS) {
        Some("") if arrived.method == "GET" => list(project, arrived),
        Some("") if arrived.method == "POST" => make(project, arrived),
        Some(rest) => one(project, arrived, rest.trim_start_matches('/')),
        None => error(404, "NOT_FOUND", "Requested entity was not found."),
    }
}

fn with_name(end: &Value, name: &str) -> Value {
    let mut end = end.clone();
    end["name"] = json!(name);
    end["done"] = json!(true);
    end
}

/// An operation, done at once or later.
fn operation(project: &mut Project, response: &Value) -> Reply {
    let end = match project.ends_with.take() {
        Some(code) => json!({"error": {"code": code, "message": format!("canary {TOKEN}")}}),
        None => json!({"response": response}),
    };
    let name = format!("operations/op-{}", project.operations.len());
    let polls = project.polls;
    project.operations.push((polls, end.clone()));
    Reply::json(200, &if polls > 0 { json!({"name": name}) } else { with_name(&end, &name) })
}

fn name(key: &Key) -> String {
    format!("projects/12345/locations/global/keys/{}", key.id)
}

/// A key as it is shown: without its string. What is empty is left out.
fn shown(key: &Key) -> Value {
    let mut shown = json!({
        "name": name(key), "uid": "5a5a5a5a-0000-4000-8000-000000000000", "displayName": key.name,
        "createTime": "2026-03-04T05:06:07.123456Z", "etag": "W/\"canary\"",
    });
    if let Some(restrictions) = &key.restrictions {
        shown["restrictions"] = restrictions.clone();
    }
    if let Some(account) = &key.service_account {
        shown["serviceAccountEmail"] = json!(account);
    }
    if key.deleted {
        shown["deleteTime"] = json!("2026-03-04T06:00:00Z");
    }
    shown
}

fn list(project: &Project, arrived: &Arrived) -> Reply {
    let from: usize = arrived.query.get("pageToken").map_or(0, |token| token.parse().unwrap());
    let there: Vec<Value> = project.keys.iter().filter(|key| !key.deleted).map(shown).collect();
    let end = there.len().min(from + project.largest_page);
    let mut page = json!({"keys": there[from..end]});
    if end < there.len() {
        page["nextPageToken"] = json!(end.to_string());
    }
    Reply::json(200, &page)
}

fn make(project: &mut Project, arrived: &Arrived) -> Reply {
    let body = match arrived.object(&["displayName", "restrictions", "serviceAccountEmail", "annotations"]) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let id = arrived.query.get("keyId").cloned().unwrap_or_default();
    let of_its_kind = id.len() <= 63
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && !id.ends_with('-')
        && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let display = body["displayName"].as_str().unwrap_or_default().to_owned();
    if !of_its_kind || display.is_empty() || display.len() > 63 {
        return error(400, "INVALID_ARGUMENT", "The id or the name of the key is wrong.");
    }
    if project.keys.iter().any(|key| key.id == id) {
        return error(409, "ALREADY_EXISTS", "Requested entity already exists.");
    }
    if project.ends_with.is_some() {
        return operation(project, &Value::Null);
    }
    let key = Key {
        string: format!("AIza-canary-made-{}", project.keys.len()),
        id,
        name: display,
        restrictions: body.get("restrictions").cloned(),
        service_account: body.get("serviceAccountEmail").and_then(Value::as_str).map(str::to_owned),
        deleted: false,
    };
    let response = shown(&key);
    project.keys.push(key);
    operation(project, &response)
}

fn one(project: &mut Project, arrived: &Arrived, rest: &str) -> Reply {
    let id = rest.split(['/', ':']).next().unwrap_or_default();
    let Some(at) = project.keys.iter().position(|key| key.id == id) else {
        return error(404, "NOT_FOUND", "Requested entity was not found.");
    };
    let key = project.keys[at].clone();
    match (arrived.method.as_str(), &rest[id.len()..]) {
        ("GET", "") => Reply::json(200, &shown(&key)),
        ("GET", "/keyString") if !key.deleted => Reply::json(200, &json!({"keyString": key.string})),
        ("DELETE", "") if !key.deleted => {
            project.keys[at].deleted = true;
            operation(project, &shown(&project.keys[at].clone()))
        }
        ("POST", ":undelete") if arrived.object(&[]).is_ok() && key.deleted => {
            project.keys[at].deleted = false;
            operation(project, &shown(&key))
        }
        _ => error(404, "NOT_FOUND", "Requested entity was not found."),
    }
}

/// The Gemini API.
fn gemini(project: &Project, arrived: &Arrived, rest: &str) -> Reply {
    let string = arrived.header("x-goog-api-key");
    if !project.keys.iter().any(|key| key.string == string && !key.deleted) {
        let details = json!([
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
             "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}},
        ]);
        let message = format!("API key not valid: {string}");
        let error =
            json!({"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details});
        return Reply::json(400, &json!({"error": error}));
    }
    match (arrived.method.as_str(), rest) {
        ("GET", "") => Reply::json(200, &json!({"models": [], "nextPageToken": "x"})),
        ("POST", rest) => completion(
            arrived,
            rest.trim_start_matches('/').strip_suffix(":generateContent").unwrap_or_default(),
        ),
        _ => error(404, "NOT_FOUND", "Requested entity was not found."),
    }
}

/// The Gemini API will not serve a key here.
fn blocked(reason: &str) -> Reply {
    let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]);
    let error = json!({"code": 403, "message": "blocked", "status": "PERMISSION_DENIED", "details": details});
    Reply::json(403, &json!({"error": error}))
}

#[tokio::test]
async fn settings_are_held_to_their_kinds() {
    let world = World::new().await;
    world.rig.hold_to_settings("google_api_key", &world.settings(), &["project"]);
    let told = world.rig.wrong("google_api_key", json!({"project": "project-1"}));
    assert_eq!(told, "keyturn:admin_credentials or keyturn:admin_token is required");
}

#[tokio::test]
async fn a_key_is_made_tried_found_and_deleted() {
    let world = World::new().await;
    let made = world.create().await.unwrap();
    let rotator = world.rotator();
    rotator.test(&made).await.unwrap();

    let issued = world.issued().await;
    let [one] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!(one.id, format!("{PREFIX}{ROTATION}"));
    assert_eq!(one.created_at, Some(time("2026-03-04T05:06:07.123456Z")));
    assert!(rotator.may_be(one, &made) && !rotator.may_be(one, &credential(FIRST)));
    assert!(!one.hint.as_ref().unwrap().contains("canary"), "a hash");

    assert!(!rotator.disable(one).await.unwrap(), "there is no such thing");
    rotator.delete(one).await.unwrap();
    rotator.delete(one).await.unwrap();
    assert_eq!(world.issued().await, []);
    rotator.test(&credential(FIRST)).await.unwrap();
    let error = rotator.test(&made).await.unwrap_err();
    assert!(
        matches!(&error, RotationError::Refused(told) if told == "HTTP 400 API_KEY_INVALID"),
        "{error:?}"
    );
    tells_nothing(&error, &["canary"]);
}

#[tokio::test]
async fn the_same_rotation_finds_the_same_key() {
    let world = World::new().await;
    // Skips the look-up of the current key, and what it is for.
    world.fake.fail(2, Fault::Lost);
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    let first = world.create().await.unwrap();
    let second = world.create().await.unwrap();
    assert!(first.is(&second));
    assert_eq!(world.issued().await.len(), 1);
    // It was taken back as an orphan before its rotation came back to it.
    world.rotator().delete(&world.issued().await[0]).await.unwrap();
    let third = world.create().await.unwrap();
    assert!(first.is(&third));
    world.rotator().test(&third).await.unwrap();
}

#[tokio::test]
async fn a_new_key_may_do_what_the_current_one_may() {
    let world = World::new().await;
    let made = world.create().await.unwrap();
    {
        let project = world.project();
        assert_eq!(project.keys[1].restrictions, Some(restrictions()));
        assert_eq!(project.keys[1].service_account, project.keys[0].service_account);
    }
    // And the next one what that may.
    let asking = Asking {
        token: "7b1f2c3d-0000-4000-8000-00000000000b".to_owned(),
        ..Asking::of(&world.rig, &value(&made))
    };
    world.rotator().create(&asking.ask()).await.unwrap();
    assert_eq!(world.project().keys[2].restrictions, Some(restrictions()));

    for unknown in ["AIza-canary-of-another-project", "canary-no-key"] {
        let error = world.create_for(unknown).await.unwrap_err();
        assert!(
            matches!(&error, RotationError::Unfit(told) if told.contains("keyturn:services")),
            "{error:?}"
        );
        tells_nothing(&error, &["canary"]);
    }
    // A key that is gone for good.
    world.fake.fail(0, Fault::Reply(Reply::json(200, &json!({"parent": "projects/12345/locations/global"}))));
    let error = world.create().await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(told) if told.contains("keyturn:services")), "{error:?}");
}

#[tokio::test]
async fn a_new_key_may_be_for_what_the_settings_say() {
    let world = World::new().await;
    let settings =
        world.with(&json!({"services": "generativelanguage.googleapis.com aiplatform.googleapis.com"}));
    let rotator = world.rig.rotator("google_api_key", settings);
    rotator.create(&Asking::of(&world.rig, "whatever").ask()).await.unwrap();
    let targets = json!([
        {"service": "generativelanguage.googleapis.com"},
        {"service": "aiplatform.googleapis.com"},
    ]);
    assert_eq!(world.project().keys[1].restrictions, Some(json!({"apiTargets": targets})));
}

#[tokio::test]
async fn any_token_makes_an_id_that_google_takes() {
    let world = World::new().await;
    let asking = Asking::of(&world.rig, FIRST);
    for token in ["A".repeat(64), "UPPER-0000-4000-8000-00000000000B-x".to_owned(), format!("{ROTATION}-")] {
        let ask = Ask { token: &token, name: format!("{PREFIX}{token}"), ..asking.ask() };
        let rotator = world.rotator();
        let first = rotator.create(&ask).await.unwrap().credential;
        assert!(first.is(&rotator.create(&ask).await.unwrap().credential));
    }
    assert_eq!(world.issued().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_waited_for() {
    let world = World::new().await;
    world.project().polls = 3;
    let made = world.create().await.unwrap();
    let polls =
        world.fake.take_log().iter().filter(|arrived| arrived.path.starts_with("/v2/operations/")).count();
    assert_eq!(polls, 3);
    world.rotator().test(&made).await.unwrap();
    // One that takes too long is found done by the next try.
    world.project().polls = 100;
    let one = &world.issued().await[0];
    let error = world.rotator().delete(one).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unavailable(told) if told.contains("not done yet")), "{error:?}");
    world.rotator().delete(one).await.unwrap();
}

#[tokio::test]
async fn an_operation_may_fail() {
    let world = World::new().await;
    for (code, expected) in [
        (7, "refuses the administrator's"),
        (8, "no room"),
        (14, "unavailable"),
        (3, "code 3"),
        (5, "project is not there"),
    ] {
        world.project().ends_with = Some(code);
        let error = world.create().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{code}: {error}");
        tells_nothing(&error, &["canary"]);
    }
    world.create().await.unwrap();
    let one = &world.issued().await[0];
    world.project().ends_with = Some(5);
    world.rotator().delete(one).await.unwrap();
}

#[tokio::test]
async fn all_pages_are_read_and_nobody_elses_keys() {
    let world = World::new().await;
    world.create().await.unwrap();
    let mut others = Vec::new();
    for at in 0..5 {
        let prefix = if at % 2 == 0 { PREFIX } else { "keyturn-ffffffff-" };
        let key = world.project().keys[1].clone();
        others.push(Key { id: format!("{prefix}{at}"), string: format!("AIza-canary-{at}"), ..key });
    }
    world.project().keys.extend(others);
    world.project().largest_page = 2;
    assert_eq!(world.issued().await.len(), 4);
    let listed = world
        .fake
        .take_log()
        .iter()
        .filter(|arrived| arrived.path == KEYS && arrived.method == "GET")
        .count();
    assert_eq!(listed, 4);
}

#[tokio::test]
async fn a_key_that_is_not_for_us_is_a_key_nevertheless() {
    let world = World::new().await;
    for (reason, valid) in [
        ("API_KEY_SERVICE_BLOCKED", true),
        ("API_KEY_IP_ADDRESS_BLOCKED", true),
        ("SERVICE_DISABLED", true),
        ("CONSUMER_SUSPENDED", false),
    ] {
        world.fake.fail(0, Fault::Reply(blocked(reason)));
        let tried = world.rotator().test(&credential(FIRST)).await;
        assert_eq!(tried.is_ok(), valid, "{reason}");
        assert!(valid || matches!(tried, Err(RotationError::Refused(_))), "{reason}");
    }
}

#[tokio::test]
async fn each_model_is_tried() {
    let world = World::new().await;
    let rotator =
        |models: &str| world.rig.rotator("google_api_key", world.with(&json!({"verify_models": models})));
    rotator("gemini gemini").test(&credential(FIRST)).await.unwrap();
    assert_eq!(world.fake.take_log().len(), 3);
    let error = rotator("no-such").test(&credential(FIRST)).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(told) if told.contains("NOT_FOUND")), "{error:?}");
    // Here the key must be served.
    world.fake.fail(1, Fault::Reply(blocked("API_KEY_SERVICE_BLOCKED")));
    let error = rotator("gemini").test(&credential(FIRST)).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn every_fault_has_its_error() {
    let world = World::new().await;
    let secrets = ["canary", "PRIVATE KEY", "eyJ", TOKEN];
    let one = Issued { id: format!("{PREFIX}{ROTATION}"), ..Issued::default() };
    let mut by_file = world.settings();
    by_file.as_object_mut().unwrap().remove("admin_token");
    by_file["admin_credentials"] = json!("env:FILE");
    // The login goes wrong; what it takes is tried in the tests of `google_service_account`.
    let rotator = || world.rig.rotator("google_api_key", by_file.clone());
    let asking = Asking::of(&world.rig, FIRST);
    faults(&world.fake, By::Admin, true, &secrets, async || rotator().create(&asking.ask()).await).await;
    rotator().create(&asking.ask()).await.unwrap();
    world.rotator().delete(&one).await.unwrap();
    // The calls behind a token.
    let rotator =
        || world.rig.rotator("google_api_key", world.with(&json!({"services": "aiplatform.googleapis.com"})));
    faults(&world.fake, By::Admin, true, &secrets, async || rotator().create(&asking.ask()).await).await;
    faults(&world.fake, By::Admin, false, &secrets, async || {
        rotator().issued(PREFIX, &credential(FIRST)).await
    })
    .await;
    faults(&world.fake, By::Admin, true, &secrets, async || rotator().delete(&one).await).await;
    faults(&world.fake, By::Tested, false, &secrets, async || world.rotator().test(&credential(FIRST)).await)
        .await;
    // The current key cannot be looked up, for a moment.
    world.fake.fail(0, Fault::Status(429));
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    tells_nothing(&error, &secrets);
}
