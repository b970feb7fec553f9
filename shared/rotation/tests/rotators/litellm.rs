//! `litellm` against a proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{Credential, RotationError, Rotator};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::rig::{
    ADMIN, Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, credential, faults, tells_nothing, time,
    value, with,
};
use crate::rounds::{FIELD, rounds};

const CURRENT: &str = "sk-canary-current-0000";
/// What `/key/generate` takes: `GenerateKeyRequest` and what it inherits.
const GENERATE: &[&str] = &[
    "access_group_ids",
    "agent_id",
    "aliases",
    "allowed_cache_controls",
    "allowed_routes",
    "blocked",
    "budget_duration",
    "budget_fallbacks",
    "budget_id",
    "budget_limits",
    "config",
    "duration",
    "key_alias",
    "max_budget",
    "max_parallel_requests",
    "metadata",
    "model_max_budget",
    "models",
    "object_permission",
    "organization_id",
    "permissions",
    "policies",
    "project_id",
    "router_settings",
    "rpm_limit",
    "spend",
    "team_id",
    "tpd_limit",
    "tpm_limit",
    "user_id",
];

struct Row {
    token: String,
    fields: Map<String, Value>,
}

#[derive(Default)]
struct Proxy {
    rows: Vec<Row>,
    made: u32,
    /// A proxy from before `search`.
    old: bool,
}

fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let error = json!({"message": message, "type": kind, "param": "key", "code": status.to_string()});
    Reply::json(status, &json!({"error": error}))
}

impl Proxy {
    fn add(&mut self, key: &str, fields: &Value) {
        let mut row = json!({
            "key_name": "sk-...0000", "key_alias": null, "spend": 0.0, "expires": null, "models": [], "aliases": {},
            "config": {}, "user_id": null, "team_id": null, "permissions": {}, "max_parallel_requests": null,
            "metadata": {}, "blocked": null, "tpm_limit": null, "rpm_limit": null, "max_budget": null,
            "budget_duration": null, "allowed_routes": [], "auto_rotate": false, "rotation_interval": null,
            "object_permission_id": null, "created_at": "2026-03-04T05:06:07.500000Z", "last_active": null,
        });
        row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let Value::Object(fields) = row else { panic!("an object") };
        self.rows.push(Row { token: hash(key), fields });
    }

    fn row(&mut self, token: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.token == token)
    }
}

fn answer(proxy: &mut Proxy, arrived: &Arrived) -> Reply {
    let is_admin = arrived.bearer() == ADMIN;
    let own = hash(arrived.bearer());
    if !is_admin {
        match proxy.row(&own) {
            None => {
                return error(
                    401,
                    "token_not_found_in_db",
                    "Authentication Error, Invalid proxy server token",
                );
            }
            Some(row) if row.fields["blocked"] == true => {
                return error(401, "auth_error", "Authentication Error, Key is blocked.");
            }
            Some(_) => {}
        }
    }
    match arrived.what() {
        ("GET", "/key/info") => {
            let token = arrived.query.get("key").cloned().unwrap_or(own);
            assert!(!token.starts_with("sk-"), "a key in an address");
            match proxy.row(&token) {
                Some(row) if !is_admin && row.fields["allowed_routes"] != json!([]) => {
                    error(403, "auth_error", "Virtual key is not allowed to call this route.")
                }
                Some(row) => Reply::json(200, &json!({"key": token, "info": row.fields})),
                None => error(404, "not_found_error", "Key not found in database"),
            }
        }
        ("POST", "/chat/completions") => {
            let body = match arrived.object(&["model", "messages", "max_tokens"]) {
                Ok(body) => body,
                Err(reply) => return reply,
            };
            assert_eq!(body["max_tokens"], 1);
            if body["model"] == "group" {
                Reply::json(200, &json!({"choices": []}))
            } else {
                error(403, "key_model_access_denied", "key not allowed to access model")
            }
        }
        _ if !is_admin => error(403, "auth_error", "Only proxy admins may do this"),
        ("POST", "/key/generate") => generate(proxy, arrived),
        ("GET", "/key/list") => list(proxy, arrived),
        ("POST", "/key/block") => {
            let body = arrived.object(&["key"]).expect("a body");
            let Some(row) = proxy.row(body["key"].as_str().expect("a key")) else {
                return error(404, "not_found_error", "Key not found.");
            };
            row.fields.insert("blocked".to_owned(), json!(true));
            Reply::json(200, &Value::Object(row.fields.clone()))
        }
        ("POST", "/key/delete") => {
            let body = arrived.object(&["keys"]).expect("a body");
            let [token] = body["keys"].as_array().expect("keys").as_slice() else { panic!("one key") };
            let before = proxy.rows.len();
            proxy.rows.retain(|row| token != &row.token);
            if proxy.rows.len() == before {
                return error(404, "not_found_error", "No keys found");
            }
            Reply::json(200, &json!({"deleted_keys": [token]}))
        }
        _ => error(404, "not_found_error", "Not Found"),
    }
}

fn generate(proxy: &mut Proxy, arrived: &Arrived) -> Reply {
    let body = match arrived.object(GENERATE) {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    if proxy.rows.iter().any(|row| row.fields["key_alias"] == body["key_alias"]) {
        return error(400, "bad_request_error", "Key with alias already exists.");
    }
    proxy.made += 1;
    let key = format!("sk-canary-made-{:04}", proxy.made);
    proxy.add(&key, &Value::Object(body));
    Reply::json(200, &json!({"key": key, "token": hash(&key), "key_name": "sk-...0001"}))
}

/// Pages of two, whatever was asked for, to have several.
fn list(proxy: &Proxy, arrived: &Arrived) -> Reply {
    let size: usize = arrived.query["size"].parse().expect("a number");
    assert!((1..=100).contains(&size));
    assert_eq!(arrived.query["return_full_object"], "true");
    let page: usize = arrived.query["page"].parse().expect("a number");
    let search = &arrived.query["search"];
    let found: Vec<Value> = proxy
        .rows
        .iter()
        .filter(|row| {
            proxy.old || row.fields["key_alias"].as_str().is_some_and(|alias| alias.contains(search))
        })
        .map(|row| {
            let mut shown = row.fields.clone();
            shown.insert("token".to_owned(), json!(row.token));
            Value::Object(shown)
        })
        .collect();
    let keys: Vec<&Value> = found.iter().skip((page - 1) * 2).take(2).collect();
    let pages = found.len().div_ceil(2);
    Reply::json(
        200,
        &json!({"keys": keys, "total_count": found.len(), "current_page": page, "total_pages": pages}),
    )
}

struct World {
    rig: Rig,
    fake: Fake,
    proxy: Arc<Mutex<Proxy>>,
}

impl World {
    async fn new(current: Value) -> Self {
        let proxy = Arc::new(Mutex::new(Proxy::default()));
        let state = Arc::clone(&proxy);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        proxy.lock().unwrap().add(CURRENT, &current);
        Self { rig: Rig::new(&[("WRONG", "sk-wrong-canary")]), fake, proxy }
    }

    fn proxy(&self) -> MutexGuard<'_, Proxy> {
        self.proxy.lock().unwrap()
    }

    fn settings(&self, more: &Value) -> Value {
        let settings = json!({"admin_key": "env:ADMIN", "api_base": self.fake.url()});
        with(settings, more)
    }

    fn rotator(&self, more: &Value) -> Box<dyn Rotator> {
        self.rig.rotator("litellm", self.settings(more))
    }

    fn row(&self, credential: &Credential) -> Map<String, Value> {
        self.proxy().row(&hash(&value(credential))).expect("a row").fields.clone()
    }
}

#[tokio::test]
async fn settings_are_checked() {
    let world = World::new(json!({})).await;
    world.rig.hold_to_settings("litellm", &world.settings(&json!({})), &["admin_key", "api_base"]);
    let wrong = world.rig.wrong("litellm", world.settings(&json!({"api_base": "localhost:4000"})));
    assert_eq!(wrong, "keyturn:api_base is not the address of an HTTP service");
    let wrong = world.rig.wrong("litellm", world.settings(&json!({"expires_in": "30m"})));
    assert!(wrong.starts_with("keyturn:expires_in is too short"), "{wrong}");
}

#[tokio::test]
async fn a_key_has_the_settings_of_the_one_before_and_lives_and_goes() {
    let settings = json!({
        "models": ["group"], "aliases": {"a": "b"}, "metadata": {"tags": ["x"], "model_rpm_limit": {"group": 3}},
        "max_budget": 10.5, "budget_duration": "30d", "spend": 3.25, "tpm_limit": 1000, "rpm_limit": 0,
        "team_id": "team-1", "user_id": "user-1", "key_alias": "by hand", "auto_rotate": true,
        "rotation_interval": "30d", "object_permission_id": "perm-1",
        "object_permission": {"object_permission_id": "perm-1", "mcp_servers": ["m"], "vector_stores": null},
    });
    let world = World::new(settings).await;
    let rotator = world.rotator(&json!({"verify_models": "group"}));
    let asking = Asking::of(&world.rig, CURRENT);
    let made = rotator.create(&asking.ask()).await.unwrap().credential;
    let row = world.row(&made);
    let alias = row["key_alias"].as_str().unwrap();
    assert!(alias.starts_with(&format!("{}-", asking.ask().name)), "{alias}");
    for same in [
        "models",
        "aliases",
        "metadata",
        "max_budget",
        "budget_duration",
        "spend",
        "tpm_limit",
        "rpm_limit",
        "team_id",
        "user_id",
    ] {
        assert_eq!(row[same], world.row(&asking.current)[same], "{same}");
    }
    assert_eq!(row["object_permission"], json!({"mcp_servers": ["m"]}));
    assert_eq!((&row["auto_rotate"], row.get("duration")), (&json!(false), None));
    rotator.test(&made).await.unwrap();

    world.proxy().add("sk-canary-other-1", &json!({"key_alias": "keyturn-ffffffff-x"}));
    world.proxy().add("sk-canary-other-2", &json!({"key_alias": format!("somebody's {PREFIX}x")}));
    world
        .proxy()
        .row(&hash(&value(&made)))
        .unwrap()
        .fields
        .insert("last_active".to_owned(), json!("2026-03-05T00:00:00Z"));
    for old in [false, true] {
        world.proxy().old = old;
        let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
        let [one] = issued.as_slice() else { panic!("{issued:?}") };
        assert_eq!(one.created_at, Some(time("2026-03-04T05:06:07.5Z")));
        assert_eq!(one.last_used_at, Some(time("2026-03-05T00:00:00Z")));
        assert!(rotator.may_be(one, &made) && !rotator.may_be(one, &asking.current));
    }
    let one = rotator.issued(PREFIX, &asking.current).await.unwrap().remove(0);
    assert!(rotator.disable(&one).await.unwrap());
    let refused = rotator.test(&made).await.unwrap_err();
    assert_eq!(refused.to_string(), "the service refuses the credential (HTTP 401 auth_error)");
    assert!(rotator.issued(PREFIX, &asking.current).await.unwrap()[0].disabled);
    rotator.delete(&one).await.unwrap();
    rotator.delete(&one).await.unwrap();
    assert!(rotator.disable(&one).await.unwrap());
    let refused = rotator.test(&made).await.unwrap_err();
    assert_eq!(refused.to_string(), "the service refuses the credential (HTTP 401 token_not_found_in_db)");
    tells_nothing(&refused, &["canary"]);
}

#[tokio::test]
async fn a_key_ends_when_the_settings_say_or_as_the_one_before() {
    let ends = json!({"expires": "2026-04-03T05:06:07.500000+00:00"});
    let world = World::new(ends).await;
    let asking = Asking::of(&world.rig, CURRENT);
    let made = world.rotator(&json!({})).create(&asking.ask()).await.unwrap().credential;
    assert_eq!(world.row(&made)["duration"], "2592000s");
    let made = world.rotator(&json!({"expires_in": "7d"})).create(&asking.ask()).await.unwrap().credential;
    assert_eq!(world.row(&made)["duration"], "604800s");
}

#[tokio::test]
async fn no_key_is_made_without_the_settings_of_the_current_one() {
    let world = World::new(json!({"blocked": true})).await;
    let rotator = world.rotator(&json!({}));
    let unfit = rotator.create(&Asking::of(&world.rig, CURRENT).ask()).await.unwrap_err();
    assert_eq!(unfit.to_string(), "the current key is blocked at the proxy");
    let unfit = rotator.create(&Asking::of(&world.rig, "sk-canary-unknown").ask()).await.unwrap_err();
    assert!(matches!(&unfit, RotationError::Unfit(told) if told.contains("not_found_error")), "{unfit:?}");
    assert_eq!(world.proxy().rows.len(), 1);
}

#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found() {
    let world = World::new(json!({})).await;
    let rotator = world.rotator(&json!({}));
    let asking = Asking::of(&world.rig, CURRENT);
    world.fake.fail(1, Fault::Lost);
    rotator.create(&asking.ask()).await.unwrap_err();
    let stored = rotator.create(&asking.ask()).await.unwrap().credential;
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(issued.len(), 2, "an alias is taken once");
    assert_eq!(issued.iter().filter(|issued| rotator.may_be(issued, &stored)).count(), 1);
}

#[tokio::test]
async fn a_key_that_may_not_ask_about_itself_is_valid() {
    let world = World::new(json!({"allowed_routes": ["llm_api_routes"]})).await;
    let current = credential(CURRENT);
    world.rotator(&json!({})).test(&current).await.unwrap();
    let error = world.rotator(&json!({"verify_models": "other"})).test(&current).await.unwrap_err();
    assert_eq!(error.to_string(), "the service refuses the credential (HTTP 403 key_model_access_denied)");
}

#[tokio::test]
async fn faults_are_told_and_tell_nothing() {
    let world = World::new(json!({"key_alias": "by hand"})).await;
    let rotator = world.rotator(&json!({"verify_models": "group"}));
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
    let world = World::new(json!({})).await;
    let settings = world.settings(&json!({"rotator": "litellm"}));
    let secret = json!({FIELD: CURRENT, "keyturn:rotator": {FIELD: settings}});
    let made =
        |number: u32| (hash(&format!("sk-canary-made-{number:04}")), format!("sk-canary-made-{number:04}"));
    let works = || {
        let known: BTreeMap<String, String> =
            (0..20).map(made).chain([(hash(CURRENT), CURRENT.to_owned())]).collect();
        let proxy = world.proxy();
        let open = proxy.rows.iter().filter(|row| row.fields["blocked"] != true);
        open.map(|row| known[&row.token].clone()).collect()
    };
    rounds(&world.rig, &world.fake, &secret, works, |value| value == CURRENT).await;
    assert_eq!(world.proxy().rows.len(), 2, "what was blocked is deleted");
}
