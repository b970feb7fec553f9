//! `google_service_account` against an account with its keys.

use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyturn_rotation::{Created, Credential, Issued, RotationError, Rotator};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::google::{ADMIN_ACCOUNT, ADMIN_KEY, TOKEN, admin_file, completion, error, key_file, pair, token};
use crate::rig::{
    Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, credential, document, faults, tells_nothing, time,
    value, with,
};

const ACCOUNT: &str = "gateway@project-1.iam.gserviceaccount.com";
/// The account's first key, which is the secret's.
const FIRST: &str = "0000000000000000000000000000000000000001";

#[derive(Clone, Debug)]
struct Key {
    id: String,
    /// Which key pair it has.
    pair: usize,
    disabled: bool,
    /// Whether the token service knows it already.
    known: bool,
}

struct Account {
    keys: Vec<Key>,
    made: usize,
    url: String,
    /// Whether the token service learns of new keys at once.
    slow: bool,
    /// Whether the organisation allows new keys.
    forbidden: bool,
}

struct World {
    rig: Rig,
    fake: Fake,
    account: Arc<Mutex<Account>>,
}

impl World {
    async fn new() -> Self {
        let first = Key { id: FIRST.to_owned(), pair: 1, disabled: false, known: true };
        let account =
            Account { keys: vec![first], made: 1, url: String::new(), slow: false, forbidden: false };
        let account = Arc::new(Mutex::new(account));
        let state = Arc::clone(&account);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        account.lock().unwrap().url = format!("{}/token", fake.url());
        let wrong = key_file(ADMIN_ACCOUNT, ADMIN_KEY, &pair(3).pem);
        let rig =
            Rig::new(&[("FILE", &admin_file()), ("TOKEN", TOKEN), ("WRONG", &wrong), ("NONE", "sk-canary")]);
        Self { rig, fake, account }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    fn settings(&self) -> Value {
        let url = self.fake.url();
        json!({
            "project": "project-1", "service_account": ACCOUNT, "admin_credentials": "env:FILE",
            "api_base": url, "token_url": format!("{url}/token"), "endpoint": url,
        })
    }

    fn with(&self, more: &Value) -> Value {
        with(self.settings(), more)
    }

    fn rotator(&self) -> Box<dyn Rotator> {
        self.rig.rotator("google_service_account", self.settings())
    }

    async fn create(&self) -> Result<Created, RotationError> {
        self.rotator().create(&Asking::of(&self.rig, "the current one").ask()).await
    }

    async fn issued(&self) -> Vec<Issued> {
        self.rotator().issued(PREFIX, &first()).await.unwrap()
    }
}

/// The account's first key.
fn first() -> Credential {
    credential(&key_file(ACCOUNT, FIRST, &pair(1).pem))
}

fn answer(account: &mut Account, arrived: &Arrived) -> Reply {
    if arrived.what() == ("POST", "/token") {
        return token(arrived, &account.url, |who, id| match who {
            ADMIN_ACCOUNT => (id == ADMIN_KEY).then(|| pair(0)),
            ACCOUNT => {
                let found = account.keys.iter().find(|key| key.id == id && key.known && !key.disabled);
                found.map(|key| pair(key.pair))
            }
            _ => None,
        });
    }
    if arrived.bearer() != TOKEN {
        return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
    }
    let vertex = "/v1/projects/project-1/locations/europe-west4/publishers/google/models/";
    if let Some(model) =
        arrived.path.strip_prefix(vertex).and_then(|rest| rest.strip_suffix(":generateContent"))
    {
        return completion(arrived, model);
    }
    let keys = format!("/v1/projects/project-1/serviceAccounts/{ACCOUNT}/keys");
    let Some(rest) = arrived.path.strip_prefix(&keys) else {
        return error(404, "NOT_FOUND", "Unknown service account.");
    };
    let at = |account: &Account, id: &str| account.keys.iter().position(|key| key.id == id);
    match (arrived.method.as_str(), rest) {
        ("GET", "") => {
            if arrived.query.get("keyTypes").map(String::as_str) != Some("USER_MANAGED") {
                return error(400, "INVALID_ARGUMENT", "Google's own keys are of no interest.");
            }
            let all: Vec<Value> = account.keys.iter().map(shown).collect();
            // What is empty is left out.
            Reply::json(200, &if all.is_empty() { json!({}) } else { json!({"keys": all}) })
        }
        ("POST", "") => make(account, arrived),
        ("POST", action) => {
            let id = action
                .strip_prefix('/')
                .and_then(|action| action.strip_suffix(":disable"))
                .unwrap_or_default();
            match (
                at(account, id),
                arrived.object(&["serviceAccountKeyDisableReason", "extendedStatusMessage"]),
            ) {
                (_, Err(refused)) => refused,
                (None, _) => error(404, "NOT_FOUND", "Service account key does not exist."),
                (Some(at), _) => {
                    account.keys[at].disabled = true;
                    Reply::json(200, &json!({}))
                }
            }
        }
        ("DELETE", id) => match at(account, id.trim_start_matches('/')) {
            None => error(404, "NOT_FOUND", "Service account key does not exist."),
            Some(at) => {
                account.keys.remove(at);
                Reply::json(200, &json!({}))
            }
        },
        _ => error(404, "NOT_FOUND", "Method not found."),
    }
}

fn name(key: &Key) -> String {
    format!("projects/project-1/serviceAccounts/{ACCOUNT}/keys/{}", key.id)
}

/// A key as it is listed.
fn shown(key: &Key) -> Value {
    let mut shown = json!({
        "name": name(key),
        "validAfterTime": "2026-03-04T05:06:07Z",
        "validBeforeTime": "9999-12-31T23:59:59Z",
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
    });
    if key.disabled {
        shown["disabled"] = json!(true);
        shown["disableReason"] = json!("SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED");
    }
    shown
}

fn make(account: &mut Account, arrived: &Arrived) -> Reply {
    let body = match arrived.object(&["privateKeyType", "keyAlgorithm"]) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    if body["privateKeyType"] != "TYPE_GOOGLE_CREDENTIALS_FILE" || body["keyAlgorithm"] != "KEY_ALG_RSA_2048"
    {
        return error(400, "INVALID_ARGUMENT", "Invalid value.");
    }
    if account.forbidden {
        return error(400, "FAILED_PRECONDITION", "Key creation is not allowed on this service account.");
    }
    if account.keys.len() >= 10 {
        return error(400, "FAILED_PRECONDITION", "Precondition check failed.");
    }
    account.made += 1;
    let key = Key {
        id: format!("{:040}", account.made),
        pair: 1 + account.made % 2,
        disabled: false,
        known: !account.slow,
    };
    let mut answer = shown(&key);
    answer["privateKeyType"] = json!("TYPE_GOOGLE_CREDENTIALS_FILE");
    answer["privateKeyData"] = json!(STANDARD.encode(key_file(ACCOUNT, &key.id, &pair(key.pair).pem)));
    account.keys.push(key);
    Reply::json(200, &answer)
}

#[tokio::test]
async fn settings_are_held_to_their_kinds() {
    let world = World::new().await;
    world.rig.hold_to_settings("google_service_account", &world.settings(), &["project", "service_account"]);
    let wrong = |more: Value| world.rig.wrong("google_service_account", world.with(&more));
    assert_eq!(
        wrong(json!({"admin_token": "env:TOKEN"})),
        "keyturn:admin_token takes the place of admin_credentials"
    );
    assert_eq!(wrong(json!({"verify_models": "gemini"})), "keyturn:location is required with verify_models");
    assert_eq!(wrong(json!({"key_file": "somewhere"})), "keyturn:key_file is not of the right kind");
    assert_eq!(
        wrong(json!({"token_url": "sk-1"})),
        "keyturn:token_url is not the address of an HTTP service"
    );
    let mut none = world.settings();
    none.as_object_mut().unwrap().remove("admin_credentials");
    let told = world.rig.wrong("google_service_account", none);
    assert_eq!(told, "keyturn:admin_credentials or keyturn:admin_token is required");
}

#[tokio::test]
async fn a_key_is_made_tried_found_disabled_and_deleted() {
    let world = World::new().await;
    let made = world.create().await.unwrap().credential;
    let rotator = world.rotator();
    rotator.test(&made).await.unwrap();
    let file: Value = serde_json::from_str(&value(&made)).unwrap();
    assert_eq!(
        (file["client_email"].as_str(), file["project_id"].as_str()),
        (Some(ACCOUNT), Some("project-1"))
    );

    let issued = world.issued().await;
    let [old, new] = issued.as_slice() else { panic!("{issued:?}") };
    assert!(rotator.may_be(old, &first()) && !rotator.may_be(old, &made));
    assert!(rotator.may_be(new, &made) && !rotator.may_be(new, &first()));
    assert!(rotator.may_be(new, &credential("no key file")), "in doubt");
    assert_eq!(new.created_at, Some(time("2026-03-04T05:06:07Z")));

    assert!(rotator.disable(old).await.unwrap());
    let issued = world.issued().await;
    assert!(issued[0].disabled && !issued[1].disabled, "{issued:?}");
    let error = rotator.test(&first()).await.unwrap_err();
    assert!(matches!(&error, RotationError::Refused(told) if told == "HTTP 400 invalid_grant"), "{error:?}");
    tells_nothing(&error, &["PRIVATE KEY", "eyJ"]);
    rotator.delete(old).await.unwrap();
    // What is gone is no error.
    rotator.delete(old).await.unwrap();
    assert!(rotator.disable(old).await.unwrap());
    let left = rotator.issued(PREFIX, &made).await.unwrap();
    assert_eq!(left.iter().map(|issued| &issued.id).collect::<Vec<_>>(), [&new.id]);
}

#[tokio::test]
async fn of_two_of_one_rotation_the_one_that_no_version_holds_is_told_apart() {
    let world = World::new().await;
    world.fake.fail(1, Fault::Lost);
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    let stored = world.create().await.unwrap().credential;
    let rotator = world.rotator();
    let (issued, current) = (world.issued().await, first());
    let orphans: Vec<&Issued> =
        issued.iter().filter(|key| !rotator.may_be(key, &stored) && !rotator.may_be(key, &current)).collect();
    let [orphan] = orphans.as_slice() else { panic!("{orphans:?}") };
    rotator.delete(orphan).await.unwrap();
    rotator.test(&stored).await.unwrap();
    rotator.test(&current).await.unwrap();
}

#[tokio::test]
async fn nothing_is_listed_of_an_account_that_is_not_the_secrets() {
    let world = World::new().await;
    for current in
        [key_file("other@project-1.iam.gserviceaccount.com", "ff", &pair(2).pem), "no key file".to_owned()]
    {
        let error = world.rotator().issued(PREFIX, &credential(&current)).await.unwrap_err();
        assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
        tells_nothing(&error, &["PRIVATE KEY", TOKEN]);
    }
}

#[tokio::test]
async fn a_secret_may_be_the_key_file_itself() {
    let world = World::new().await;
    let rotator = world.rig.rotator("google_service_account", world.with(&json!({"key_file": "secret"})));
    let parts: Vec<_> = rotator.parts().iter().map(|part| (part.name, part.field)).collect();
    assert_eq!(parts, [("private_key", Some("private_key")), ("private_key_id", Some("private_key_id"))]);

    let text = key_file(ACCOUNT, FIRST, &pair(1).pem);
    let old = document(&text);
    let part = |name| old.text(Some(name)).unwrap();
    let current = Credential::default()
        .with("private_key", part("private_key"))
        .with("private_key_id", part("private_key_id"));
    rotator.test(&current).await.unwrap();
    let asking =
        Asking { current: current.clone(), document: document(&text), ..Asking::of(&world.rig, "x") };
    let made = rotator.create(&asking.ask()).await.unwrap();
    rotator.test(&made.credential).await.unwrap();
    assert_eq!(made.fields["client_email"], Some(json!(ACCOUNT)));
    assert!(!made.fields.contains_key("private_key") && !made.fields.contains_key("private_key_id"));
    let id = made.credential.part("private_key_id").unwrap().expose_secret().to_owned();
    let issued = rotator.issued(PREFIX, &current).await.unwrap();
    let found: Vec<&str> = issued
        .iter()
        .filter(|issued| rotator.may_be(issued, &made.credential))
        .map(|issued| issued.id.as_str())
        .collect();
    assert_eq!(found, [id]);
    assert!(rotator.may_be(&issued[0], &Credential::default()), "in doubt");
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_is_refused_until_it_is() {
    let world = World::new().await;
    world.account().slow = true;
    let made = world.create().await.unwrap().credential;
    let error = world.rotator().test(&made).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
    world.account().keys[1].known = true;
    world.rotator().test(&made).await.unwrap();
}

#[tokio::test]
async fn each_model_is_tried() {
    let world = World::new().await;
    let rotator = |models: &str| {
        let more = json!({"location": "europe-west4", "verify_models": models});
        world.rig.rotator("google_service_account", world.with(&more))
    };
    rotator("gemini").test(&first()).await.unwrap();
    assert_eq!(world.fake.take_log().len(), 2);
    let error = rotator("gemini no-such").test(&first()).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(told) if told.contains("NOT_FOUND")), "{error:?}");
}

#[tokio::test]
async fn an_account_with_ten_keys_is_full_and_a_forbidden_one_is_not() {
    let world = World::new().await;
    world.account().forbidden = true;
    let error = world.create().await.unwrap_err();
    assert!(
        matches!(&error, RotationError::Unfit(told) if told.contains("FAILED_PRECONDITION")),
        "{error:?}"
    );
    world.account().forbidden = false;
    for _ in 0..9 {
        world.create().await.unwrap();
    }
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Full(_)), "{error:?}");
    // As it was said in former years.
    let exhausted = error_429();
    world.fake.fail(1, Fault::Reply(exhausted.clone()));
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Full(_)), "{error:?}");
    world.account().keys.truncate(3);
    world.fake.fail(1, Fault::Reply(exhausted));
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
}

fn error_429() -> Reply {
    error(429, "RESOURCE_EXHAUSTED", "Maximum number of keys on account reached.")
}

#[tokio::test]
async fn a_wrong_administrator_is_denied() {
    let world = World::new().await;
    let create = async |reference: &str| {
        let rotator =
            world.rig.rotator("google_service_account", world.with(&json!({"admin_credentials": reference})));
        rotator.create(&Asking::of(&world.rig, "x").ask()).await.unwrap_err()
    };
    let error = create("env:WRONG").await;
    assert!(matches!(&error, RotationError::Denied(told) if told == "HTTP 400 invalid_grant"), "{error:?}");
    tells_nothing(&error, &["PRIVATE KEY", "eyJ"]);
    let error = create("env:NONE").await;
    assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
    tells_nothing(&error, &["canary"]);
    assert_eq!(world.account().keys.len(), 1);
}

#[tokio::test]
async fn every_fault_has_its_error() {
    let world = World::new().await;
    let secrets = ["PRIVATE KEY", "eyJ", TOKEN];
    let [one] = world.issued().await.try_into().unwrap();
    let mut token_too = world.settings();
    token_too.as_object_mut().unwrap().remove("admin_credentials");
    token_too["admin_token"] = json!("env:TOKEN");
    // The login goes wrong, then the calls behind a token.
    for settings in [world.settings(), token_too] {
        let rotator = || world.rig.rotator("google_service_account", settings.clone());
        let (fake, asking) = (&world.fake, Asking::of(&world.rig, "x"));
        faults(fake, By::Admin, true, &secrets, async || rotator().create(&asking.ask()).await).await;
        faults(fake, By::Admin, false, &secrets, async || rotator().issued(PREFIX, &first()).await).await;
        faults(fake, By::Admin, false, &secrets, async || rotator().disable(&one).await).await;
        faults(fake, By::Admin, false, &secrets, async || rotator().delete(&one).await).await;
    }
    faults(&world.fake, By::Tested, true, &secrets, async || world.rotator().test(&first()).await).await;
    assert_eq!(world.issued().await, [one]);
    world.fake.fail(1, Fault::Garbage);
    let error = world.rotator().issued(PREFIX, &first()).await.unwrap_err();
    assert!(matches!(error, RotationError::Malformed(_)), "{error:?}");
    // A key whose file is not what it should be.
    for data in ["%%%".to_owned(), STANDARD.encode([0xff]), STANDARD.encode("{}")] {
        world.fake.fail(1, Fault::Reply(Reply::json(200, &json!({"privateKeyData": data}))));
        let error = world.create().await.unwrap_err();
        assert!(matches!(error, RotationError::Malformed(_)), "{error:?}");
    }
}
