//! `azure_openai` against an account with two keys.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use keyturn_rotation::{Ask, Credential, RotationError, Rotator, Unchanged};
use serde_json::{Value, json};

use crate::azure::{ADMIN_CLIENT, TENANT, TOKEN, completion, error, token, token_path};
use crate::rig::{
    ADMIN, Arrived, Asking, By, Fake, Fault, Reply, Rig, credential, faults, tells_nothing, value,
};

const ACCOUNT: &str =
    "/subscriptions/sub-1/resourceGroups/group-1/providers/Microsoft.CognitiveServices/accounts/account-1";

/// The account.
struct Account {
    key1: String,
    key2: String,
    made: u32,
    /// What a token must be asked for.
    scope: String,
}

struct World {
    rig: Rig,
    fake: Fake,
    account: Arc<Mutex<Account>>,
}

impl World {
    async fn new() -> Self {
        let account = Account {
            key1: "azure-canary-key1-0".to_owned(),
            key2: "azure-canary-key2-0".to_owned(),
            made: 0,
            scope: String::new(),
        };
        let account = Arc::new(Mutex::new(account));
        let state = Arc::clone(&account);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        account.lock().unwrap().scope = format!("{}/.default", fake.url());
        let rig = Rig::new(&[("TOKEN", TOKEN), ("WRONG", "wrong-canary-admin")]);
        Self { rig, fake, account }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap()
    }

    /// Settings with an administrator who logs in.
    fn settings(&self) -> Value {
        let url = self.fake.url();
        json!({
            "subscription": "sub-1", "resource_group": "group-1", "account": "account-1",
            "tenant": TENANT, "admin_client_id": ADMIN_CLIENT, "admin_client_secret": "env:ADMIN",
            "api_base": url, "login_base": url, "endpoint": url,
        })
    }

    /// The same with others.
    fn with(&self, more: &Value) -> Value {
        let mut settings = self.settings();
        for (name, value) in more.as_object().unwrap() {
            settings[name] = value.clone();
            if value.is_null() {
                settings.as_object_mut().unwrap().remove(name);
            }
        }
        settings
    }

    /// Settings with a token in the place of a login.
    fn with_token(&self) -> Value {
        self.with(&json!({
            "tenant": null, "admin_client_id": null, "admin_client_secret": null, "admin_token": "env:TOKEN",
        }))
    }

    fn rotator(&self) -> Box<dyn Rotator> {
        self.rig.rotator("azure_openai", self.settings())
    }

    async fn create(&self, current: &str) -> Result<Credential, RotationError> {
        let asking = Asking::of(&self.rig, current);
        self.rotator().create(&asking.ask()).await.map(|created| created.credential)
    }
}

fn answer(account: &mut Account, arrived: &Arrived) -> Reply {
    let action = arrived.path.strip_prefix(ACCOUNT);
    match (arrived.method.as_str(), action, arrived.path.as_str()) {
        ("POST", None, path) if path == token_path() => {
            token(arrived, &account.scope, |id, secret| (id, secret) == (ADMIN_CLIENT, ADMIN))
        }
        ("POST", Some(action), _) => {
            if arrived.query.get("api-version").map(String::as_str) != Some("2025-09-01")
                || arrived.query.len() != 1
            {
                return error(400, "InvalidApiVersionParameter", "The api-version is wrong.");
            }
            if arrived.bearer() != TOKEN {
                return error(401, "InvalidAuthenticationToken", "The access token is invalid.");
            }
            manage(account, action, arrived)
        }
        ("GET", None, "/openai/models") => {
            if arrived.query.get("api-version").map(String::as_str) != Some("2024-10-21") {
                return error(404, "404", "Resource not found");
            }
            let models = || Reply::json(200, &json!({"object": "list", "data": []}));
            with_key(account, arrived).unwrap_or_else(models)
        }
        ("POST", None, "/openai/v1/chat/completions") => {
            with_key(account, arrived).unwrap_or_else(|| completion(arrived))
        }
        _ => error(404, "404", "Resource not found"),
    }
}

fn manage(account: &mut Account, action: &str, arrived: &Arrived) -> Reply {
    match action {
        "/listKeys" => {
            if arrived.header("content-length") != "0" {
                return error(411, "LengthRequired", "A length is required.");
            }
        }
        "/regenerateKey" => {
            let body = match arrived.object(&["keyName"]) {
                Ok(body) => body,
                Err(refused) => return refused,
            };
            account.made += 1;
            let made = account.made;
            match body.get("keyName").and_then(Value::as_str) {
                Some("Key1") => account.key1 = format!("azure-canary-key1-{made}"),
                Some("Key2") => account.key2 = format!("azure-canary-key2-{made}"),
                _ => return error(400, "InvalidRequestContent", "keyName is wrong."),
            }
        }
        _ => return error(404, "404", "Resource not found"),
    }
    Reply::json(200, &json!({"key1": account.key1, "key2": account.key2}))
}

/// The refusal of a request without one of the account's keys.
fn with_key(account: &Account, arrived: &Arrived) -> Option<Reply> {
    let key = arrived.header("api-key");
    let known = key == account.key1 || key == account.key2;
    (!known).then(|| error(401, "401", &format!("Access denied due to invalid subscription key {key}.")))
}

#[tokio::test]
async fn settings_are_held_to_their_kinds() {
    let world = World::new().await;
    let rig = &world.rig;
    for complete in [world.settings(), world.with_token()] {
        rig.hold_to_settings("azure_openai", &complete, &["subscription", "resource_group", "account"]);
    }
    rig.hold_to_settings(
        "azure_openai",
        &world.settings(),
        &["tenant", "admin_client_id", "admin_client_secret"],
    );
    let wrong = |more: Value| rig.wrong("azure_openai", world.with(&more));
    assert_eq!(
        wrong(json!({"admin_token": "env:TOKEN"})),
        "keyturn:admin_token takes the place of admin_client_id and admin_client_secret"
    );
    assert_eq!(
        wrong(json!({"admin_client_id": null, "admin_client_secret": null})),
        "keyturn:admin_client_id or keyturn:admin_token is required"
    );
    for name in ["api_base", "login_base", "endpoint"] {
        assert_eq!(
            wrong(json!({name: "sk-1"})),
            format!("keyturn:{name} is not the address of an HTTP service")
        );
    }
    let told = wrong(json!({"admin_client_secret": "sk-canary"}));
    assert!(told.starts_with("keyturn:admin_client_secret is not a secret reference"), "{told}");
    assert!(!told.contains("sk-canary"), "{told}");
}

#[tokio::test]
async fn the_two_keys_alternate() {
    let world = World::new().await;
    let mut current = "azure-canary-key1-0".to_owned();
    for expected in ["azure-canary-key2-1", "azure-canary-key1-2", "azure-canary-key2-3"] {
        let made = world.create(&current).await.unwrap();
        assert_eq!(value(&made), expected);
        let rotator = world.rotator();
        rotator.test(&made).await.unwrap();
        // The one that is in use still is.
        rotator.test(&credential(&current)).await.unwrap();
        assert!(rotator.overwrites());
        assert_eq!(rotator.issued(crate::rig::PREFIX, &made).await.unwrap(), []);
        current = expected.to_owned();
    }
}

/// Somebody else has gone on with the rotation.
struct Overtaken;

#[async_trait]
impl Unchanged for Overtaken {
    async fn confirm(&self) -> Result<(), RotationError> {
        Err(RotationError::Unavailable("overtaken".to_owned()))
    }
}

#[tokio::test]
async fn nothing_is_regenerated_once_somebody_else_went_on() {
    let world = World::new().await;
    let asking = Asking::of(&world.rig, "azure-canary-key1-0");
    let ask = Ask { unchanged: &Overtaken, ..asking.ask() };
    let error = world.rotator().create(&ask).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unavailable(told) if told == "overtaken"), "{error:?}");
    assert_eq!(world.account().made, 0);
}

#[tokio::test]
async fn nothing_comes_between_looking_and_regenerating() {
    let world = World::new().await;
    world.create("azure-canary-key2-0").await.unwrap();
    let log = world.fake.take_log();
    let paths: Vec<&str> = log.iter().map(|arrived| arrived.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["token", "listKeys", "regenerateKey"]);
    assert_eq!(serde_json::from_slice::<Value>(&log[2].body).unwrap(), json!({"keyName": "Key1"}));
}

#[tokio::test]
async fn of_two_that_create_at_once_one_value_is_lost_and_found_to_be() {
    let world = World::new().await;
    let first = world.create("azure-canary-key1-0").await.unwrap();
    let second = world.create("azure-canary-key1-0").await.unwrap();
    let rotator = world.rotator();
    let refused = rotator.test(&first).await.unwrap_err();
    assert!(matches!(refused, RotationError::Refused(_)), "{refused:?}");
    assert!(rotator.is_lost(&first).await.unwrap());
    rotator.test(&second).await.unwrap();
    assert!(!rotator.is_lost(&second).await.unwrap());
    assert_eq!(world.account().key1, "azure-canary-key1-0", "the key in use was not touched");
}

#[tokio::test]
async fn an_answer_that_is_lost_costs_a_key_that_nobody_has() {
    let world = World::new().await;
    world.fake.fail(2, Fault::Lost);
    let error = world.create("azure-canary-key1-0").await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    assert_eq!(world.account().key2, "azure-canary-key2-1");
    let made = world.create("azure-canary-key1-0").await.unwrap();
    assert_eq!(value(&made), "azure-canary-key2-2");
    assert_eq!(world.account().key1, "azure-canary-key1-0");
}

#[tokio::test]
async fn nothing_is_regenerated_when_it_is_not_known_which_key_is_in_use() {
    let world = World::new().await;
    let error = world.create("azure-canary-of-another-account").await.unwrap_err();
    assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");
    tells_nothing(&error, &["azure-canary", TOKEN, ADMIN]);
    assert_eq!(world.account().made, 0);
}

#[tokio::test]
async fn a_key_that_did_not_change_is_no_new_key() {
    let world = World::new().await;
    let same = json!({"key1": "azure-canary-key1-0", "key2": "azure-canary-key2-0"});
    for keys in [same, json!({"key1": "azure-canary-key1-0", "key2": ""})] {
        world.fake.fail(2, Fault::Reply(Reply::json(200, &keys)));
        let error = world.create("azure-canary-key1-0").await.unwrap_err();
        assert!(matches!(error, RotationError::Malformed(_)), "{error:?}");
        tells_nothing(&error, &["azure-canary"]);
    }
}

#[tokio::test]
async fn each_deployment_is_tried() {
    let world = World::new().await;
    let rotator =
        |models: &str| world.rig.rotator("azure_openai", world.with(&json!({"verify_models": models})));
    let key = credential("azure-canary-key1-0");
    rotator("gpt o-thinking").test(&key).await.unwrap();
    assert_eq!(world.fake.take_log().len(), 3);
    let error = rotator("gpt no-such").test(&key).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(told) if told.contains("DeploymentNotFound")), "{error:?}");
    let error = rotator("gpt").test(&credential("azure-canary-revoked")).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
    tells_nothing(&error, &["azure-canary"]);
}

#[tokio::test]
async fn the_administrator_logs_in_once_and_a_wrong_one_is_denied() {
    let world = World::new().await;
    let rotator = world.rotator();
    for _ in 0..2 {
        rotator.is_lost(&credential("x")).await.unwrap();
    }
    let logins = world.fake.take_log().iter().filter(|arrived| arrived.path == token_path()).count();
    assert_eq!(logins, 1);
    for more in [json!({"admin_client_secret": "env:WRONG"}), json!({"admin_client_id": "another"})] {
        let rotator = world.rig.rotator("azure_openai", world.with(&more));
        let error = rotator.is_lost(&credential("x")).await.unwrap_err();
        assert!(
            matches!(&error, RotationError::Denied(told) if told == "HTTP 401 invalid_client"),
            "{error:?}"
        );
        tells_nothing(&error, &["wrong-canary", ADMIN]);
    }
    // The other way to say the same.
    world.fake.fail(0, Fault::Reply(Reply::json(400, &json!({"error": "unauthorized_client"}))));
    let error = world.rotator().is_lost(&credential("x")).await.unwrap_err();
    assert!(matches!(error, RotationError::Denied(_)), "{error:?}");
}

#[tokio::test]
async fn every_fault_has_its_error() {
    let world = World::new().await;
    let secrets = ["azure-canary", TOKEN, ADMIN];
    let pending = credential("azure-canary-key1-0");
    // The login goes wrong, then the calls behind a token.
    for settings in [world.settings(), world.with_token()] {
        let rotator = || world.rig.rotator("azure_openai", settings.clone());
        faults(&world.fake, By::Admin, true, &secrets, async || {
            let asking = Asking::of(&world.rig, "azure-canary-key1-0");
            rotator().create(&asking.ask()).await
        })
        .await;
        faults(&world.fake, By::Admin, true, &secrets, async || rotator().is_lost(&pending).await).await;
    }
    faults(&world.fake, By::Tested, false, &secrets, async || world.rotator().test(&pending).await).await;
    assert_eq!(world.account().made, 0);
    // Only regenerating goes wrong.
    for (status, expected) in
        [(403, "refuses the administrator's"), (429, "unavailable"), (409, "does not take")]
    {
        world.fake.fail(2, Fault::Status(status));
        let error = world.create("azure-canary-key1-0").await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        tells_nothing(&error, &secrets);
    }
}
