//! `openrouter` against an account with many keys.

use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{RotationError, Rotator};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::rig::{
    ADMIN, Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, credential, faults, tells_nothing, time,
    value, with,
};
use crate::rounds::{FIELD, rounds};

const CURRENT: &str = "sk-or-v1-canary-current-0000";

struct Key {
    name: String,
    value: String,
    disabled: bool,
    asked: Value,
}

impl Key {
    fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.value.as_bytes()))
    }

    fn shown(&self) -> Value {
        let label = format!("{}...{}", &self.value[..12], &self.value[self.value.len() - 4..]);
        json!({
            "hash": self.hash(), "name": self.name, "label": label, "disabled": self.disabled, "limit": null,
            "limit_remaining": null, "limit_reset": null, "usage": 0, "include_byok_in_limit": false,
            "created_at": "2026-03-04T05:06:07.123Z", "updated_at": null, "expires_at": null,
        })
    }
}

#[derive(Default)]
struct Account {
    /// Newest first.
    keys: Vec<Key>,
    made: u32,
}

impl Account {
    fn add(&mut self, name: &str, value: &str, asked: Value) {
        self.keys.insert(0, Key { name: name.to_owned(), value: value.to_owned(), disabled: false, asked });
    }
}

fn error(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "code": status}}))
}

fn answer(account: &mut Account, arrived: &Arrived) -> Reply {
    let path: Vec<&str> = arrived.path.trim_start_matches("/api/v1/").split('/').collect();
    if path[0] != "keys" {
        return serve(account, arrived);
    }
    if arrived.bearer() != ADMIN {
        return error(401, "Invalid management key");
    }
    match (arrived.method.as_str(), &path[1..]) {
        ("POST", []) => create(account, arrived),
        ("GET", []) => {
            let offset: usize =
                arrived.query.get("offset").map_or(0, |offset| offset.parse().expect("a number"));
            let all = arrived.query.get("include_disabled").is_some_and(|all| all == "true");
            let keys = account.keys.iter().filter(|key| all || !key.disabled);
            let workspace = arrived.query.get("workspace_id").map_or("default", String::as_str);
            let keys =
                keys.filter(|key| key.asked["workspace_id"].as_str().unwrap_or("default") == workspace);
            let page: Vec<Value> = keys.skip(offset).take(100).map(Key::shown).collect();
            Reply::json(200, &json!({"data": page}))
        }
        (method @ ("PATCH" | "DELETE"), [hash]) => {
            let Some(at) = account.keys.iter().position(|key| key.hash() == *hash) else {
                return error(404, "API key not found");
            };
            if method == "DELETE" {
                account.keys.remove(at);
                return Reply::json(200, &json!({"deleted": true}));
            }
            match arrived.object(&["name", "disabled", "limit", "limit_reset", "include_byok_in_limit"]) {
                Ok(body) => account.keys[at].disabled = body["disabled"].as_bool().expect("true or false"),
                Err(reply) => return reply,
            }
            Reply::json(200, &json!({"data": account.keys[at].shown()}))
        }
        _ => error(404, "Not found"),
    }
}

fn create(account: &mut Account, arrived: &Arrived) -> Reply {
    let allowed = ["name", "workspace_id", "limit", "limit_reset", "include_byok_in_limit", "expires_at"];
    let body = match arrived.object(&allowed) {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let name = body["name"].as_str().expect("a name").to_owned();
    assert!(body.get("limit").is_none_or(Value::is_number));
    assert!(
        body.get("limit_reset")
            .is_none_or(|reset| ["daily", "weekly", "monthly"].contains(&reset.as_str().unwrap()))
    );
    assert!(body.get("expires_at").is_none_or(|at| at.as_str().unwrap().ends_with('Z')));
    account.made += 1;
    let value = format!("sk-or-v1-canary-made-{:04}", account.made);
    account.add(&name, &value, Value::Object(body));
    Reply::json(201, &json!({"data": account.keys[0].shown(), "key": value}))
}

fn serve(account: &Account, arrived: &Arrived) -> Reply {
    if !account.keys.iter().any(|key| key.value == arrived.bearer() && !key.disabled) {
        return error(401, "User not found.");
    }
    match arrived.what() {
        ("GET", "/api/v1/key") => Reply::json(200, &json!({"data": {"label": "sk-or-v1-...", "usage": 0}})),
        ("POST", "/api/v1/chat/completions") => {
            let body = match arrived.object(&["model", "messages", "max_tokens"]) {
                Ok(body) => body,
                Err(reply) => return reply,
            };
            assert!(body["max_tokens"].as_u64().is_some_and(|tokens| tokens >= 16));
            match body["model"].as_str().expect("a model") {
                "maker/model" => Reply::json(200, &json!({"choices": []})),
                "maker/dear" => error(402, "Insufficient credits"),
                _ => error(400, "No such model"),
            }
        }
        _ => error(404, "Not found"),
    }
}

struct World {
    rig: Rig,
    fake: Fake,
    account: Arc<Mutex<Account>>,
}

impl World {
    async fn new() -> Self {
        let account = Arc::new(Mutex::new(Account::default()));
        let state = Arc::clone(&account);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        account.lock().unwrap().add("by hand", CURRENT, json!({}));
        Self { rig: Rig::new(&[("WRONG", "admin-wrong-canary")]), fake, account }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    fn settings(&self, more: &Value) -> Value {
        let settings = json!({"admin_key": "env:ADMIN", "api_base": format!("{}/api/v1", self.fake.url())});
        with(settings, more)
    }

    fn rotator(&self, more: &Value) -> Box<dyn Rotator> {
        self.rig.rotator("openrouter", self.settings(more))
    }
}

#[tokio::test]
async fn settings_are_checked() {
    let world = World::new().await;
    world.rig.hold_to_settings("openrouter", &world.settings(&json!({})), &["admin_key"]);
    let wrong = |more: Value| world.rig.wrong("openrouter", world.settings(&more));
    for limit in [json!("much"), json!(0), json!(-1), json!("NaN"), json!("inf")] {
        assert_eq!(wrong(json!({"limit": limit})), "keyturn:limit is not an amount of dollars");
    }
    assert_eq!(wrong(json!({"limit_reset": "daily"})), "keyturn:limit_reset needs keyturn:limit");
    assert_eq!(
        wrong(json!({"limit": 1, "limit_reset": "yearly"})),
        "keyturn:limit_reset is not of the right kind"
    );
    assert!(wrong(json!({"expires_in": "1h"})).starts_with("keyturn:expires_in is too short"));
}

#[tokio::test]
async fn a_key_lives_and_goes() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({"limit": "12.5", "limit_reset": "monthly", "expires_in": "30d"}));
    let asking = Asking::of(&world.rig, CURRENT);
    let made = rotator.create(&asking.ask()).await.unwrap().credential;
    let name = asking.ask().name;
    let asked =
        json!({"name": name, "limit": 12.5, "limit_reset": "monthly", "expires_at": "2026-04-03T05:06:07Z"});
    assert_eq!(world.account().keys[0].asked, asked);
    rotator.test(&made).await.unwrap();

    // More keys of others than a page holds.
    for number in 0..120 {
        world.account().add("somebody's", &format!("sk-or-v1-canary-other-{number:04}"), json!({}));
    }
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    let [one] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!((one.disabled, one.last_used_at), (false, None));
    assert_eq!(one.created_at, Some(time("2026-03-04T05:06:07.123Z")));
    assert!(rotator.may_be(one, &made));
    assert!(!rotator.may_be(one, &asking.current));

    assert!(rotator.disable(one).await.unwrap());
    let error = rotator.test(&made).await.unwrap_err();
    assert_eq!(error.to_string(), "the service refuses the credential (HTTP 401)");
    tells_nothing(&error, &[&value(&made)]);
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert!(issued[0].disabled);
    rotator.delete(&issued[0]).await.unwrap();
    rotator.delete(&issued[0]).await.unwrap();
    assert!(rotator.disable(&issued[0]).await.unwrap());
    assert!(rotator.issued(PREFIX, &asking.current).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_with_words_for_a_label_is_known_by_its_hash_and_spared_by_its_label() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    let asking = Asking::of(&world.rig, CURRENT);
    let made = rotator.create(&asking.ask()).await.unwrap().credential;
    let mut one = rotator.issued(PREFIX, &asking.current).await.unwrap().remove(0);
    one.hint = Some("sk-or-v1-zzz...zzzz".to_owned());
    assert!(rotator.may_be(&one, &made), "by its hash");
    assert!(!rotator.may_be(&one, &asking.current));
    one.hint = Some("Production key".to_owned());
    assert!(rotator.may_be(&one, &asking.current), "in doubt");
}

#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    let asking = Asking::of(&world.rig, CURRENT);
    world.fake.fail(0, Fault::Lost);
    rotator.create(&asking.ask()).await.unwrap_err();
    let stored = rotator.create(&asking.ask()).await.unwrap().credential;
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(issued.len(), 2);
    let unstored: Vec<_> = issued.iter().filter(|issued| !rotator.may_be(issued, &stored)).collect();
    assert_eq!(unstored.len(), 1);
}

#[tokio::test]
async fn models_are_proved() {
    let world = World::new().await;
    let current = credential(CURRENT);
    world.rotator(&json!({"verify_models": "maker/model"})).test(&current).await.unwrap();
    for model in ["maker/none", "maker/dear"] {
        let error = world.rotator(&json!({"verify_models": model})).test(&current).await.unwrap_err();
        assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
    }
}

#[tokio::test]
async fn faults_are_told_and_tell_nothing() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({"verify_models": "maker/model"}));
    let asking = Asking::of(&world.rig, CURRENT);
    let secrets = [ADMIN, CURRENT];
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.create(&asking.ask()).await).await;
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.issued(PREFIX, &asking.current).await)
        .await;
    faults(&world.fake, By::Tested, false, &secrets, async || rotator.test(&asking.current).await).await;
    let one = rotator.issued("by", &asking.current).await.unwrap().remove(0);
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.disable(&one).await).await;
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.delete(&one).await).await;
    let denied = world.rotator(&json!({"admin_key": "env:WRONG"})).create(&asking.ask()).await.unwrap_err();
    assert!(matches!(denied, RotationError::Denied(_)), "{denied:?}");
}

#[tokio::test]
async fn rotations_leave_what_the_secret_holds() {
    let world = World::new().await;
    let settings = world.settings(&json!({"rotator": "openrouter"}));
    let secret = json!({FIELD: CURRENT, "keyturn:rotator": {FIELD: settings}});
    let works = || {
        let account = world.account();
        account.keys.iter().filter(|key| !key.disabled).map(|key| key.value.clone()).collect()
    };
    rounds(&world.rig, &world.fake, &secret, works, |value| value == CURRENT).await;
    assert_eq!(world.account().keys.len(), 2, "what was disabled is deleted");
}

#[tokio::test]
async fn a_workspace_has_its_own_keys() {
    let world = World::new().await;
    let asking = Asking::of(&world.rig, CURRENT);
    let (one, other) = (world.rotator(&json!({"workspace": "w-1"})), world.rotator(&json!({})));
    one.create(&asking.ask()).await.unwrap();
    assert_eq!(world.account().keys[0].asked["workspace_id"], "w-1");
    assert_eq!(one.issued(PREFIX, &asking.current).await.unwrap().len(), 1);
    assert!(other.issued(PREFIX, &asking.current).await.unwrap().is_empty());
}
