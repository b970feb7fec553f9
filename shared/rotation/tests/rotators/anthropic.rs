//! `anthropic` against an organization whose keys a person makes.

use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{Created, RotationError, Rotator};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::rig::{
    ADMIN, Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, TOKEN, credential, document, faults,
    tells_nothing, value, with,
};
use crate::rounds::{FIELD, rounds};

const OTHER_TOKEN: &str = "7b1f2c3d-0000-4000-8000-00000000000b";

struct Key {
    id: String,
    name: String,
    value: String,
    status: String,
}

impl Key {
    fn shown(&self) -> Value {
        let (head, tail) = (&self.value[..16], &self.value[self.value.len() - 4..]);
        json!({
            "id": self.id, "type": "api_key", "name": self.name, "status": self.status, "workspace_id": null,
            "created_at": "2025-10-30T23:58:27.427722Z", "created_by": {"id": "user_1", "type": "user"},
            "partial_key_hint": format!("{head}...{tail}"),
        })
    }
}

#[derive(Default)]
struct Organization(Vec<Key>);

/// The value of the key with a letter.
fn key(letter: char) -> String {
    format!("sk-ant-api03-{letter}{letter}{letter}-canary-{letter}-igAA")
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}),
    )
}

fn answer(organization: &mut Organization, arrived: &Arrived) -> Reply {
    if arrived.header("anthropic-version") != "2023-06-01" {
        return error(400, "invalid_request_error", "anthropic-version: header is required");
    }
    let presented = arrived.header("x-api-key");
    let path: Vec<&str> = arrived.path.trim_start_matches("/v1/").split('/').collect();
    if path[0] != "organizations" {
        return serve(organization, arrived);
    }
    if presented != ADMIN {
        return error(401, "authentication_error", &format!("invalid x-api-key {presented}"));
    }
    match (arrived.method.as_str(), &path[1..]) {
        ("GET", ["api_keys"]) => list(organization, arrived),
        ("POST", ["api_keys", id]) => {
            let Some(key) = organization.0.iter_mut().find(|key| key.id == *id) else {
                return error(404, "not_found_error", "no such key");
            };
            let body = match arrived.object(&["name", "status"]) {
                Ok(body) => body,
                Err(reply) => return reply,
            };
            if key.status == "archived" && body.get("status").is_none_or(|status| status != "archived") {
                return error(400, "invalid_request_error", "an archived key cannot be changed");
            }
            if let Some(name) = body.get("name") {
                key.name = name.as_str().expect("a name").to_owned();
            }
            if let Some(status) = body.get("status") {
                let status = status.as_str().expect("a status");
                assert!(["active", "inactive", "archived"].contains(&status));
                key.status = status.to_owned();
            }
            Reply::json(200, &key.shown())
        }
        _ => error(404, "not_found_error", "Not found"),
    }
}

/// Pages of two, to have several.
fn list(organization: &Organization, arrived: &Arrived) -> Reply {
    let limit: usize = arrived.query["limit"].parse().expect("a number");
    assert!((1..=1000).contains(&limit));
    let keys = &organization.0;
    let start = match arrived.query.get("after_id") {
        None => 0,
        Some(after) => 1 + keys.iter().position(|key| key.id == *after).expect("a cursor of ours"),
    };
    let page: Vec<Value> = keys[start..].iter().take(2).map(Key::shown).collect();
    let id = |key: Option<&Value>| key.map(|key| key["id"].clone());
    let (first, last) = (id(page.first()), id(page.last()));
    let has_more = start + 2 < keys.len();
    Reply::json(200, &json!({"data": page, "has_more": has_more, "first_id": first, "last_id": last}))
}

fn serve(organization: &Organization, arrived: &Arrived) -> Reply {
    let presented = arrived.header("x-api-key");
    if !organization.0.iter().any(|key| key.value == presented && key.status == "active") {
        return error(401, "authentication_error", "invalid x-api-key");
    }
    match arrived.what() {
        ("GET", "/v1/models") => Reply::json(200, &json!({"data": [], "has_more": false})),
        ("POST", "/v1/messages") => {
            let body = match arrived.object(&["model", "max_tokens", "messages"]) {
                Ok(body) => body,
                Err(reply) => return reply,
            };
            assert_eq!(body["max_tokens"], 1);
            if body["model"] == "claude-known" {
                Reply::json(200, &json!({"type": "message", "content": []}))
            } else {
                error(404, "not_found_error", "model: claude-none")
            }
        }
        _ => error(404, "not_found_error", "Not found"),
    }
}

struct World {
    rig: Rig,
    fake: Fake,
    organization: Arc<Mutex<Organization>>,
}

impl World {
    /// With the keys a to f, of which a is in use.
    async fn new() -> Self {
        let keys = ('a'..='f').map(|letter| Key {
            id: format!("apikey_{letter}"),
            name: format!("by hand {letter}"),
            value: key(letter),
            status: "active".to_owned(),
        });
        let organization = Arc::new(Mutex::new(Organization(keys.collect())));
        let state = Arc::clone(&organization);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        let shared = format!("[\"{}\", \"{}\"]", key('b'), key('c'));
        let rig = Rig::new(&[
            ("WRONG", "admin-wrong-canary"),
            ("SHARED", &shared),
            ("WORDS", &format!("{}\n{}", key('b'), key('c'))),
        ]);
        Self { rig, fake, organization }
    }

    fn organization(&self) -> MutexGuard<'_, Organization> {
        self.organization.lock().unwrap()
    }

    fn set(&self, letter: char, change: impl Fn(&mut Key)) {
        change(self.organization().0.iter_mut().find(|found| found.value == key(letter)).unwrap());
    }

    fn name(&self, letter: char) -> String {
        self.organization().0.iter().find(|found| found.value == key(letter)).unwrap().name.clone()
    }

    fn settings(&self, more: &Value) -> Value {
        let settings = json!({"admin_key": "env:ADMIN", "api_base": self.fake.url()});
        with(settings, more)
    }

    fn rotator(&self, more: &Value) -> Box<dyn Rotator> {
        self.rig.rotator("anthropic", self.settings(more))
    }

    /// A JSON secret with a current key and a pool.
    fn asking(&self, current: char, pool: &str) -> Asking {
        let pool: Vec<String> = pool.chars().map(key).collect();
        let secret = json!({"CLAUDE": key(current), "CLAUDE_POOL": pool, "OTHER": 1});
        Asking {
            field: Some("CLAUDE".to_owned()),
            document: document(&secret.to_string()),
            ..Asking::of(&self.rig, &key(current))
        }
    }
}

/// The pool that a new version has, by letters.
fn left(created: &Created) -> String {
    let Some(Some(Value::Array(left))) = created.fields.get("CLAUDE_POOL") else { panic!("{created:?}") };
    left.iter()
        .map(|left| ('a'..='f').find(|letter| left == &key(*letter)).expect("a key of the pool"))
        .collect()
}

#[tokio::test]
async fn settings_are_checked() {
    let world = World::new().await;
    world.rig.hold_to_settings("anthropic", &world.settings(&json!({})), &["admin_key"]);
    let wrong = |more: Value| world.rig.wrong("anthropic", world.settings(&more));
    for neither in ["", "Nonesuch:x", "s3:x"] {
        assert_eq!(
            wrong(json!({"pool": neither})),
            "keyturn:pool is neither a field's name nor a secret reference"
        );
    }
    assert_eq!(wrong(json!({"pool": "file:"})), "keyturn:pool names no secret after the scheme");
}

#[tokio::test]
async fn a_key_leaves_the_pool_and_the_one_it_replaces_is_archived_in_the_end() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    let asking = world.asking('a', "bcd");
    let created = rotator.create(&asking.ask()).await.unwrap();
    assert_eq!(value(&created.credential), key('b'));
    assert_eq!(left(&created), "cd");
    assert!(!format!("{created:?}").contains("canary"), "a new credential's pool is not shown");
    assert_eq!(world.name('b'), format!("{PREFIX}{TOKEN}"));
    assert_eq!(world.name('a'), format!("{PREFIX}used-{TOKEN}"));
    rotator.test(&created.credential).await.unwrap();

    // Neither the new key nor one of the pool or of somebody else is ever in the list.
    let issued = rotator.issued(PREFIX, &created.credential).await.unwrap();
    let [old] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!((old.id.as_str(), old.disabled), ("apikey_a", false));
    assert!(rotator.may_be(old, &credential(&key('a'))));
    assert!(('b'..='f').all(|letter| !rotator.may_be(old, &credential(&key(letter)))));

    assert!(rotator.disable(old).await.unwrap());
    let refused = rotator.test(&credential(&key('a'))).await.unwrap_err();
    assert_eq!(refused.to_string(), "the service refuses the credential (HTTP 401 authentication_error)");
    let issued = rotator.issued(PREFIX, &created.credential).await.unwrap();
    assert!(issued[0].disabled);
    rotator.delete(&issued[0]).await.unwrap();
    assert!(rotator.issued(PREFIX, &created.credential).await.unwrap().is_empty());
    rotator.delete(&issued[0]).await.unwrap();
    world.organization().0.retain(|found| found.value != key('a'));
    rotator.delete(&issued[0]).await.unwrap();
    assert!(rotator.disable(&issued[0]).await.unwrap());
    rotator.test(&created.credential).await.unwrap();
}

#[tokio::test]
async fn a_repeat_takes_the_same_key() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    let asking = world.asking('a', "bc");
    world.fake.fail(3, Fault::Lost);
    rotator.create(&asking.ask()).await.unwrap_err();
    for _ in 0..2 {
        let created = rotator.create(&asking.ask()).await.unwrap();
        assert_eq!((value(&created.credential), left(&created)), (key('b'), "c".to_owned()));
    }
    // The rotation is abandoned, and another one begins.
    let asking = Asking { token: OTHER_TOKEN.to_owned(), ..asking };
    assert_eq!(value(&rotator.create(&asking.ask()).await.unwrap().credential), key('b'));
    assert_eq!(world.name('b'), format!("{PREFIX}{OTHER_TOKEN}"));
    assert_eq!(world.name('a'), format!("{PREFIX}used-{TOKEN}"), "it is known already");
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(issued.len(), 1, "{issued:?}");
    assert!(rotator.may_be(&issued[0], &asking.current), "the current one stays");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_passed_over() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    // The current one, one that was used before, one that is inactive, one of another secret, and an unknown one.
    world.set('b', |key| key.name = format!("{PREFIX}used-x"));
    world.set('c', |key| key.status = "inactive".to_owned());
    world.set('d', |key| key.name = "keyturn-ffffffff-x".to_owned());
    world.organization().0.retain(|found| found.value != key('e'));
    let created = rotator.create(&world.asking('a', "abcdef").ask()).await.unwrap();
    assert_eq!(value(&created.credential), key('f'));
    assert_eq!(left(&created), "cde", "what may be of use again stays");

    let asking = world.asking('f', "abcde");
    let full = rotator.create(&asking.ask()).await.unwrap_err();
    assert_eq!(
        full.to_string(),
        "there is no room for another credential: no key of the pool is active and unused (5 in it); \
         make one in the Claude Console and add it to CLAUDE_POOL"
    );
    assert_eq!(world.name('f'), format!("{PREFIX}{TOKEN}"), "nothing has changed");
}

#[tokio::test]
async fn the_pool_may_be_elsewhere() {
    let world = World::new().await;
    for pool in ["env:SHARED", "env:WORDS"] {
        let rotator = world.rotator(&json!({"pool": pool}));
        let created = rotator.create(&Asking::of(&world.rig, &key('a')).ask()).await.unwrap();
        assert_eq!(value(&created.credential), key('b'));
        assert!(created.fields.is_empty());
    }
    // The next rotation, from the same pool.
    let rotator = world.rotator(&json!({"pool": "env:SHARED"}));
    let asking = Asking { token: OTHER_TOKEN.to_owned(), ..Asking::of(&world.rig, &key('b')) };
    assert_eq!(value(&rotator.create(&asking.ask()).await.unwrap().credential), key('c'));

    let named = world.rotator(&json!({"pool": "SPARE"}));
    let secret = json!({"CLAUDE": key('c'), "SPARE": [key('d')]}).to_string();
    let asking = Asking { document: document(&secret), ..world.asking('c', "") };
    let created = named.create(&asking.ask()).await.unwrap();
    assert_eq!(created.fields.get("SPARE"), Some(&Some(json!([]))));

    let beside = world.rotator(&json!({}));
    let unfit = beside.create(&Asking::of(&world.rig, &key('a')).ask()).await.unwrap_err();
    assert!(matches!(&unfit, RotationError::Unfit(told) if told.contains("keyturn:pool")), "{unfit:?}");
    let asking = Asking { document: document(r#"{"CLAUDE_POOL": "x"}"#), ..world.asking('a', "") };
    let unfit = beside.create(&asking.ask()).await.unwrap_err();
    assert_eq!(unfit.to_string(), "CLAUDE_POOL is not an array of keys");
    let missing = Asking { document: document("{}"), ..world.asking('a', "") };
    assert!(matches!(beside.create(&missing.ask()).await, Err(RotationError::Full(_))));
}

#[tokio::test]
async fn keys_that_look_alike_stop_the_rotation() {
    let world = World::new().await;
    let twin = Key {
        id: "apikey_twin".to_owned(),
        name: "twin".to_owned(),
        value: key('b').replace("canary", "yranac"),
        status: "active".to_owned(),
    };
    world.organization().0.push(twin);
    let rotator = world.rotator(&json!({}));
    let unfit = rotator.create(&world.asking('a', "b").ask()).await.unwrap_err();
    assert!(unfit.to_string().contains("apikey_b and apikey_twin look alike"), "{unfit}");
    tells_nothing(&unfit, &["canary"]);
    world.organization().0.last_mut().unwrap().status = "archived".to_owned();
    rotator.create(&world.asking('a', "b").ask()).await.unwrap();
}

#[tokio::test]
async fn a_used_key_that_is_current_again_is_spared() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({}));
    rotator.create(&world.asking('a', "bc").ask()).await.unwrap();
    // Somebody goes back to the former key.
    let asking = Asking { token: OTHER_TOKEN.to_owned(), ..world.asking('a', "bc") };
    let created = rotator.create(&asking.ask()).await.unwrap();
    assert_eq!(created.credential.value().unwrap().expose_secret(), key('b'));
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert!(issued.iter().all(|issued| rotator.may_be(issued, &asking.current)));
}

#[tokio::test]
async fn models_are_proved() {
    let world = World::new().await;
    let current = credential(&key('a'));
    world.rotator(&json!({"verify_models": "claude-known"})).test(&current).await.unwrap();
    let error = world.rotator(&json!({"verify_models": "claude-none"})).test(&current).await.unwrap_err();
    assert!(error.to_string().contains("HTTP 404 not_found_error"), "{error}");
}

#[tokio::test]
async fn faults_are_told_and_tell_nothing() {
    let world = World::new().await;
    let rotator = world.rotator(&json!({"verify_models": "claude-known"}));
    let asking = world.asking('a', "bc");
    let secrets = [ADMIN, "canary"];
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.create(&asking.ask()).await).await;
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.issued(PREFIX, &asking.current).await)
        .await;
    faults(&world.fake, By::Tested, false, &secrets, async || rotator.test(&asking.current).await).await;
    rotator.create(&asking.ask()).await.unwrap();
    let one = rotator.issued(PREFIX, &asking.current).await.unwrap().remove(0);
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.disable(&one).await).await;
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.delete(&one).await).await;
    let denied = world.rotator(&json!({"admin_key": "env:WRONG"})).create(&asking.ask()).await.unwrap_err();
    assert!(matches!(denied, RotationError::Denied(_)), "{denied:?}");
}

#[tokio::test]
async fn rotations_leave_what_the_secret_and_the_pool_hold() {
    let world = World::new().await;
    let settings = world.settings(&json!({"rotator": "anthropic"}));
    let pool: Vec<String> = "bcdef".chars().map(key).collect();
    let secret = json!({FIELD: key('a'), "KEY_POOL": pool, "keyturn:rotator": {FIELD: settings}});
    let active = || {
        let organization = world.organization();
        organization.0.iter().filter(|key| key.status == "active").map(|key| key.value.clone()).collect()
    };
    // What no rotation has touched has the name that a person gave it.
    let waits = |value: &str| {
        value != key('a') && {
            let organization = world.organization();
            organization.0.iter().any(|key| key.value == value && key.name.starts_with("by hand"))
        }
    };
    rounds(&world.rig, &world.fake, &secret, active, waits).await;
    // Three rotations lead from a to d.
    let states: Vec<String> = world.organization().0.iter().map(|key| key.status.clone()).collect();
    assert_eq!(states, ["archived", "archived", "archived", "active", "active", "active"]);
    assert!(world.name('d').starts_with("keyturn-") && world.name('e') == "by hand e");
}
