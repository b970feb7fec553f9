//! `openai` against a project with two service accounts and a person's keys.

use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{RotationError, Rotator};
use serde_json::{Value, json};

use crate::rig::{
    ADMIN, Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, credential, faults, tells_nothing, time,
    value, with,
};
use crate::rounds::{FIELD, rounds};

const CURRENT: &str = "sk-svcacct-canary-current-0000";
/// 2026-03-04T05:06:07Z.
const NOW: i64 = 1_772_600_767;

struct Key {
    id: String,
    name: String,
    value: String,
    owner: Value,
    last_used_at: Option<i64>,
    scopes: Vec<String>,
    expires_in: Option<i64>,
}

#[derive(Default)]
struct Project {
    keys: Vec<Key>,
    made: u32,
}

fn owner(service_account: &str) -> Value {
    let account = json!({"id": service_account, "created_at": 1, "name": "gateway", "role": "member"});
    json!({"type": "service_account", "service_account": account})
}

impl Project {
    fn add(&mut self, name: &str, value: &str, owner: Value) {
        self.made += 1;
        self.keys.push(Key {
            id: format!("key_{}", self.made),
            name: name.to_owned(),
            value: value.to_owned(),
            owner,
            last_used_at: None,
            scopes: Vec::new(),
            expires_in: None,
        });
    }
}

fn error(status: u16, code: Option<&str>, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

fn answer(project: &mut Project, arrived: &Arrived) -> Reply {
    let path: Vec<&str> = arrived.path.trim_start_matches("/v1/").split('/').collect();
    if path[0] != "organization" {
        return serve(project, arrived);
    }
    if arrived.bearer() != ADMIN {
        return error(401, Some("invalid_api_key"), "invalid_request_error", "Incorrect API key provided");
    }
    if path.get(..3) != Some(&["organization", "projects", "proj_1"]) {
        return error(404, None, "invalid_request_error", "No such project");
    }
    match (arrived.method.as_str(), &path[3..]) {
        ("POST", ["service_accounts", "svc_1", "api_keys"]) => create(project, arrived),
        ("GET", ["api_keys"]) => list(project, arrived),
        ("DELETE", ["api_keys", id]) => {
            let before = project.keys.len();
            project.keys.retain(|key| key.id != *id);
            if project.keys.len() == before {
                return error(404, None, "invalid_request_error", "No such key");
            }
            Reply::json(
                200,
                &json!({"object": "organization.project.api_key.deleted", "id": id, "deleted": true}),
            )
        }
        _ => error(404, None, "invalid_request_error", "Invalid URL"),
    }
}

fn create(project: &mut Project, arrived: &Arrived) -> Reply {
    let body = match arrived.object(&["name", "scopes", "expires_in_seconds"]) {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let name = body["name"].as_str().expect("a name").to_owned();
    let scopes = body.get("scopes").map(|scopes| serde_json::from_value(scopes.clone()).expect("texts"));
    let expires_in = body.get("expires_in_seconds").map(|seconds| seconds.as_i64().expect("seconds"));
    assert!(expires_in.is_none_or(|seconds| (1..=31_536_000).contains(&seconds)));
    let value = format!("sk-svcacct-canary-made-{:04}", project.made + 1);
    project.add(&name, &value, owner("svc_1"));
    let key = project.keys.last_mut().expect("the key just made");
    key.scopes = scopes.unwrap_or_default();
    key.expires_in = expires_in;
    let object = "organization.project.service_account.api_key";
    let expires_at = expires_in.map(|seconds| NOW + seconds);
    Reply::json(
        200,
        &json!({"object": object, "id": key.id, "name": name, "value": value, "created_at": NOW, "expires_at": expires_at}),
    )
}

/// Pages of two, to have several.
fn list(project: &Project, arrived: &Arrived) -> Reply {
    let limit: usize = arrived.query["limit"].parse().expect("a number");
    assert!((1..=100).contains(&limit));
    assert_eq!(arrived.query.get("owner_project_access").map(String::as_str), Some("any"));
    let start = match arrived.query.get("after") {
        None => 0,
        Some(after) => 1 + project.keys.iter().position(|key| key.id == *after).expect("a cursor of ours"),
    };
    let page: Vec<Value> = project.keys[start..]
        .iter()
        .take(2)
        .map(|key| {
            let (head, tail) = (&key.value[..8], &key.value[key.value.len() - 4..]);
            json!({
                "object": "organization.project.api_key", "id": key.id, "name": key.name, "created_at": NOW,
                "last_used_at": key.last_used_at, "redacted_value": format!("{head}{}{tail}", "*".repeat(20)),
                "owner": key.owner, "owner_project_access": "active", "expires_at": null,
            })
        })
        .collect();
    let has_more = start + 2 < project.keys.len();
    Reply::json(
        200,
        &json!({"object": "list", "data": page, "has_more": has_more, "first_id": null, "last_id": null}),
    )
}

fn serve(project: &Project, arrived: &Arrived) -> Reply {
    let Some(key) = project.keys.iter().find(|key| key.value == arrived.bearer()) else {
        let message = format!("Incorrect API key provided: {}.", arrived.bearer());
        return error(401, Some("invalid_api_key"), "invalid_request_error", &message);
    };
    match arrived.what() {
        ("GET", "/v1/models")
            if !key.scopes.is_empty() && !key.scopes.iter().any(|scope| scope == "api.model.read") =>
        {
            let message =
                "You have insufficient permissions for this operation. Missing scopes: api.model.read.";
            error(403, None, "invalid_request_error", message)
        }
        ("GET", "/v1/models") => Reply::json(200, &json!({"object": "list", "data": []})),
        ("POST", "/v1/chat/completions") => {
            let body = match arrived.object(&["model", "messages", "max_completion_tokens"]) {
                Ok(body) => body,
                Err(reply) => return reply,
            };
            assert_eq!(body["max_completion_tokens"], 1);
            match body["model"].as_str().expect("a model") {
                "gpt-small" => Reply::json(200, &json!({"object": "chat.completion", "choices": []})),
                "o-deep" => error(
                    400,
                    None,
                    "invalid_request_error",
                    "Could not finish the message because max_tokens or model output limit was reached.",
                ),
                _ => error(404, Some("model_not_found"), "invalid_request_error", "The model does not exist"),
            }
        }
        _ => error(404, None, "invalid_request_error", "Invalid URL"),
    }
}

struct World {
    rig: Rig,
    fake: Fake,
    project: Arc<Mutex<Project>>,
}

impl World {
    async fn new() -> Self {
        let project = Arc::new(Mutex::new(Project::default()));
        let state = Arc::clone(&project);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        project.lock().unwrap().add("Secret Key", CURRENT, owner("svc_1"));
        Self { rig: Rig::new(&[("WRONG", "admin-wrong-canary")]), fake, project }
    }

    fn project(&self) -> MutexGuard<'_, Project> {
        self.project.lock().unwrap()
    }

    fn settings(&self) -> Value {
        let base = format!("{}/v1/", self.fake.url());
        json!({"project": "proj_1", "service_account": "svc_1", "admin_key": "env:ADMIN", "api_base": base})
    }

    fn rotator(&self, more: &Value) -> Box<dyn Rotator> {
        self.rig.rotator("openai", with(self.settings(), more))
    }
}

#[tokio::test]
async fn settings_are_checked() {
    let world = World::new().await;
    world.rig.hold_to_settings("openai", &world.settings(), &["project", "service_account", "admin_key"]);
    let wrong = |more: Value| {
        let mut settings = world.settings();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.rig.wrong("openai", settings)
    };
    assert_eq!(
        wrong(json!({"expires_in": "23h"})),
        "keyturn:expires_in is too short: a credential must outlast the next rotation, at least 1d"
    );
    assert_eq!(wrong(json!({"expires_in": "366d"})), "keyturn:expires_in is longer than the service takes");
    assert_eq!(
        wrong(json!({"api_base": "ftp://x"})),
        "keyturn:api_base is not the address of an HTTP service"
    );
    assert!(
        wrong(json!({"admin_key": "sk-admin"})).starts_with("keyturn:admin_key is not a secret reference")
    );
}

#[tokio::test]
async fn a_key_lives_and_goes() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({"expires_in": "90d", "scopes": "model.request"}));
    let asking = Asking::of(&world.rig, CURRENT);
    let made = rotator.create(&asking.ask()).await.unwrap();
    assert!(made.fields.is_empty());
    let new = value(&made.credential);
    {
        let project = world.project();
        let key = project.keys.iter().find(|key| key.value == new).unwrap();
        assert_eq!(key.name, asking.ask().name);
        assert_eq!(key.expires_in, Some(90 * 86_400));
        assert_eq!(key.scopes, ["model.request"]);
    }
    // It may not list models, which is no fault of its.
    rotator.test(&made.credential).await.unwrap();
    rotator.test(&asking.current).await.unwrap();

    // Keys of others, on further pages.
    world.project().add(&format!("{PREFIX}x"), "sk-svcacct-canary-other-9999", owner("svc_2"));
    world.project().add(
        &format!("{PREFIX}y"),
        "sk-proj-canary-person-8888",
        json!({"type": "user", "user": {"id": "u"}}),
    );
    world.project().add("keyturn-ffffffff-z", "sk-svcacct-canary-other-7777", owner("svc_1"));
    world.project().keys[1].last_used_at = Some(NOW + 60);
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    let [one] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!((one.id.as_str(), one.disabled), ("key_2", false));
    assert_eq!(one.created_at, Some(time("2026-03-04T05:06:07Z")));
    assert_eq!(one.last_used_at, Some(time("2026-03-04T05:07:07Z")));
    assert!(rotator.may_be(one, &made.credential));
    assert!(!rotator.may_be(one, &asking.current));

    assert!(!rotator.disable(one).await.unwrap(), "OpenAI has no such thing");
    rotator.delete(one).await.unwrap();
    rotator.delete(one).await.unwrap();
    assert!(rotator.issued(PREFIX, &asking.current).await.unwrap().is_empty());
    let refused = rotator.test(&made.credential).await.unwrap_err();
    assert_eq!(refused.to_string(), "the service refuses the credential (HTTP 401 invalid_api_key)");
    tells_nothing(&refused, &[&new]);
}

#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    let asking = Asking::of(&world.rig, CURRENT);
    world.fake.fail(0, Fault::Lost);
    let lost = rotator.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(lost, RotationError::Unavailable(_)), "{lost:?}");
    let stored = rotator.create(&asking.ask()).await.unwrap().credential;
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(issued.len(), 2);
    let unstored: Vec<_> = issued.iter().filter(|issued| !rotator.may_be(issued, &stored)).collect();
    assert_eq!(unstored.len(), 1);
    rotator.delete(unstored[0]).await.unwrap();
    rotator.test(&stored).await.unwrap();
}

#[tokio::test]
async fn models_are_proved() {
    let world = World::new().await;
    let current = credential(CURRENT);
    world.rotator(&json!({"verify_models": "gpt-small o-deep"})).test(&current).await.unwrap();
    let rotator = world.rotator(&json!({"verify_models": ["gpt-small", "gpt-none"]}));
    let error = rotator.test(&current).await.unwrap_err();
    assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
    assert!(error.to_string().contains("HTTP 404 model_not_found"), "{error}");
}

#[tokio::test]
async fn faults_are_told_and_tell_nothing() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({"verify_models": "gpt-small"}));
    let asking = Asking::of(&world.rig, CURRENT);
    let secrets = [ADMIN, CURRENT];
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.create(&asking.ask()).await).await;
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.issued(PREFIX, &asking.current).await)
        .await;
    faults(&world.fake, By::Tested, false, &secrets, async || rotator.test(&asking.current).await).await;
    let one = rotator.issued("Secret", &asking.current).await.unwrap().remove(0);
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.delete(&one).await).await;

    let stranger = world.rotator(&json!({"admin_key": "env:WRONG"}));
    let denied = stranger.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(denied, RotationError::Denied(_)), "{denied:?}");
    let nowhere = world.rotator(&json!({"project": "proj_2"})).create(&asking.ask()).await.unwrap_err();
    assert!(matches!(nowhere, RotationError::Unfit(_)), "{nowhere:?}");
}

#[tokio::test]
async fn rotations_leave_what_the_secret_holds() {
    let world = World::new().await;
    let mut settings = world.settings();
    settings["rotator"] = json!("openai");
    let secret = json!({FIELD: CURRENT, "keyturn:rotator": {FIELD: settings}});
    let works = || world.project().keys.iter().map(|key| key.value.clone()).collect();
    rounds(&world.rig, &world.fake, &secret, works, |value| value == CURRENT).await;
}
