//! `entra_application` against a directory with one application.

use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{Credential, Issued, RotationError, Rotator};
use serde_json::{Value, json};

use crate::azure::{ADMIN_CLIENT, TENANT, TOKEN, completion, error, token, token_path};
use crate::rig::{
    ADMIN, Arrived, Asking, By, Fake, Fault, PREFIX, Reply, Rig, TOKEN as ROTATION, credential, faults,
    tells_nothing, time, value, with,
};

const APPLICATION: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const CLIENT: &str = "cccccccc-0000-4000-8000-000000000003";

/// A password of the application.
#[derive(Clone)]
struct Password {
    id: String,
    name: String,
    secret: String,
    end: String,
    /// Whether the token service knows it already.
    known: bool,
}

#[derive(Default)]
struct Directory {
    passwords: Vec<Password>,
    made: u32,
    /// What the administrator's token must be asked for.
    scope: String,
    /// Whether the token service learns of new passwords at once.
    slow: bool,
    /// How many passwords fit.
    room: usize,
}

struct World {
    rig: Rig,
    fake: Fake,
    directory: Arc<Mutex<Directory>>,
}

impl World {
    async fn new() -> Self {
        let by_hand = Password {
            id: "dddddddd-0000-4000-8000-000000000000".to_owned(),
            name: "made by hand".to_owned(),
            secret: "han8Q~canary".to_owned(),
            end: "2027-01-01T00:00:00Z".to_owned(),
            known: true,
        };
        let directory = Directory { passwords: vec![by_hand], room: 20, ..Directory::default() };
        let directory = Arc::new(Mutex::new(directory));
        let state = Arc::clone(&directory);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        directory.lock().unwrap().scope = format!("{}/.default", fake.url());
        Self { rig: Rig::new(&[("TOKEN", TOKEN), ("WRONG", "wrong-canary-admin")]), fake, directory }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap()
    }

    fn settings(&self) -> Value {
        let url = self.fake.url();
        json!({
            "tenant": TENANT, "application": APPLICATION, "client_id": CLIENT,
            "admin_client_id": ADMIN_CLIENT, "admin_client_secret": "env:ADMIN",
            "api_base": url, "login_base": url,
        })
    }

    fn with(&self, more: &Value) -> Value {
        with(self.settings(), more)
    }

    fn rotator(&self) -> Box<dyn Rotator> {
        self.rig.rotator("entra_application", self.settings())
    }

    async fn create(&self) -> Result<Credential, RotationError> {
        let asking = Asking::of(&self.rig, "han8Q~canary");
        self.rotator().create(&asking.ask()).await.map(|created| created.credential)
    }

    async fn issued(&self) -> Vec<Issued> {
        self.rotator().issued(PREFIX, &credential("han8Q~canary")).await.unwrap()
    }
}

fn answer(directory: &mut Directory, arrived: &Arrived) -> Reply {
    if arrived.what() == ("POST", token_path().as_str()) {
        // One scope for the administrator, others for the application.
        let scope = match arrived.form().get("client_id").map(String::as_str) {
            Some(CLIENT) => arrived.form().get("scope").cloned().unwrap_or_default(),
            _ => directory.scope.clone(),
        };
        return token(arrived, &scope, |id, secret| match id {
            ADMIN_CLIENT => secret == ADMIN,
            CLIENT => directory.passwords.iter().any(|password| password.known && password.secret == secret),
            _ => false,
        });
    }
    if arrived.bearer() != TOKEN {
        return error(401, "InvalidAuthenticationToken", "Access token is empty.");
    }
    if arrived.what() == ("POST", "/openai/v1/chat/completions") {
        return completion(arrived);
    }
    match (arrived.method.as_str(), arrived.path.strip_prefix(&format!("/v1.0/applications/{APPLICATION}"))) {
        ("GET", Some("")) => {
            if arrived.query.get("$select").map(String::as_str) != Some("passwordCredentials") {
                return error(400, "BadRequest", "Not what is asked for.");
            }
            let all: Vec<Value> = directory.passwords.iter().map(shown).collect();
            Reply::json(200, &json!({"passwordCredentials": all}))
        }
        ("POST", Some("/addPassword")) => add(directory, arrived),
        ("POST", Some("/removePassword")) => {
            let id = match arrived.object(&["keyId"]) {
                Ok(body) => body.get("keyId").and_then(Value::as_str).unwrap_or_default().to_owned(),
                Err(refused) => return refused,
            };
            let before = directory.passwords.len();
            directory.passwords.retain(|password| password.id != id);
            if directory.passwords.len() == before {
                return error(400, "Request_BadRequest", "No password credential found with keyId.");
            }
            Reply::empty(204)
        }
        _ => error(404, "Request_ResourceNotFound", "Resource does not exist."),
    }
}

/// A password as it is listed: without its text.
fn shown(password: &Password) -> Value {
    json!({
        "customKeyIdentifier": null,
        "displayName": password.name,
        "endDateTime": password.end,
        "hint": &password.secret[..3],
        "keyId": password.id,
        "secretText": null,
        "startDateTime": "2026-03-04T05:06:07.1234567Z",
    })
}

fn add(directory: &mut Directory, arrived: &Arrived) -> Reply {
    let body = match arrived.object(&["passwordCredential"]) {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let asked = body["passwordCredential"].as_object().cloned().unwrap_or_default();
    if asked.keys().any(|name| !matches!(name.as_str(), "displayName" | "endDateTime" | "startDateTime")) {
        return error(400, "Request_BadRequest", "A property is not known.");
    }
    if directory.passwords.len() >= directory.room {
        return error(403, "Directory_QuotaExceeded", "The directory object quota limit has been exceeded.");
    }
    directory.made += 1;
    let made = directory.made;
    let password = Password {
        id: format!("dddddddd-0000-4000-8000-{made:012}"),
        name: asked["displayName"].as_str().unwrap().to_owned(),
        secret: format!("{}k{made}8Q~canary-made", (b'a' + u8::try_from(made).unwrap()) as char),
        end: asked.get("endDateTime").map_or("2028-03-04T05:06:07Z", |end| end.as_str().unwrap()).to_owned(),
        known: !directory.slow,
    };
    let mut answer = shown(&password);
    answer["secretText"] = json!(password.secret);
    directory.passwords.push(password);
    Reply::json(200, &answer)
}

#[tokio::test]
async fn settings_are_held_to_their_kinds() {
    let world = World::new().await;
    let required = ["tenant", "application", "client_id", "admin_client_id", "admin_client_secret"];
    world.rig.hold_to_settings("entra_application", &world.settings(), &required);
    let wrong = |more: Value| world.rig.wrong("entra_application", world.with(&more));
    assert!(wrong(json!({"expires_in": "2h"})).starts_with("keyturn:expires_in is too short"));
    assert!(wrong(json!({"expires_in": "soon"})).starts_with("keyturn:expires_in is no duration"));
    assert_eq!(wrong(json!({"verify_models": "gpt"})), "keyturn:endpoint is required with verify_models");
}

#[tokio::test]
async fn a_secret_is_added_tried_found_and_removed() {
    let world = World::new().await;
    let made = world.create().await.unwrap();
    let rotator = world.rotator();
    rotator.test(&made).await.unwrap();

    let issued = world.issued().await;
    let [one] = issued.as_slice() else { panic!("{issued:?}") };
    assert!(rotator.may_be(one, &made));
    assert!(!rotator.may_be(one, &credential("han8Q~canary")));
    assert!(rotator.may_be(&Issued { hint: None, ..one.clone() }, &made), "in doubt");
    assert_eq!(one.created_at, Some(time("2026-03-04T05:06:07.1234567Z")));
    let name = world.directory().passwords[1].name.clone();
    assert_eq!(name, format!("{PREFIX}{ROTATION}"));

    assert!(!rotator.disable(one).await.unwrap(), "there is no such thing");
    rotator.delete(one).await.unwrap();
    rotator.delete(one).await.unwrap();
    assert_eq!(world.issued().await, []);
    assert_eq!(world.directory().passwords.len(), 1, "what was made by hand stays");
    let error = rotator.test(&made).await.unwrap_err();
    assert!(matches!(&error, RotationError::Refused(told) if told == "HTTP 401 invalid_client"), "{error:?}");
    tells_nothing(&error, &["canary", &value(&made)]);
}

#[tokio::test]
async fn of_two_of_one_rotation_the_one_that_no_version_holds_is_told_apart() {
    let world = World::new().await;
    world.fake.fail(1, Fault::Lost);
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    let stored = world.create().await.unwrap();
    let rotator = world.rotator();
    let issued = world.issued().await;
    assert_eq!(issued.len(), 2);
    let orphans: Vec<&Issued> = issued.iter().filter(|issued| !rotator.may_be(issued, &stored)).collect();
    let [orphan] = orphans.as_slice() else { panic!("{orphans:?}") };
    rotator.delete(orphan).await.unwrap();
    rotator.test(&stored).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_is_not_known_yet_is_refused_until_it_is() {
    let world = World::new().await;
    world.directory().slow = true;
    let made = world.create().await.unwrap();
    let rotator = world.rotator();
    let error = rotator.test(&made).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
    world.directory().passwords[1].known = true;
    rotator.test(&made).await.unwrap();
}

#[tokio::test]
async fn a_secret_ends_by_itself_if_the_settings_say_so() {
    let world = World::new().await;
    let rotator = world.rig.rotator("entra_application", world.with(&json!({"expires_in": "180d"})));
    rotator.create(&Asking::of(&world.rig, "x").ask()).await.unwrap();
    world.create().await.unwrap();
    let ends: Vec<String> = world.directory().passwords.iter().map(|password| password.end.clone()).collect();
    assert_eq!(ends[1], "2026-08-31T05:06:07Z");
    assert_eq!(ends[2], "2028-03-04T05:06:07Z", "Entra's own");
}

#[tokio::test]
async fn its_token_is_tried_with_each_deployment() {
    let world = World::new().await;
    let url = world.fake.url();
    let rotator = |models: &str| {
        let more = json!({"endpoint": url, "verify_models": models});
        world.rig.rotator("entra_application", world.with(&more))
    };
    let secret = credential("han8Q~canary");
    rotator("gpt o-thinking").test(&secret).await.unwrap();
    let log = world.fake.take_log();
    assert_eq!(log.len(), 3);
    assert_eq!(log[0].form()["scope"], "https://cognitiveservices.azure.com/.default");
    let error = rotator("no-such").test(&secret).await.unwrap_err();
    assert!(matches!(error, RotationError::Unfit(_)), "{error:?}");

    world.rotator().test(&secret).await.unwrap();
    let more = json!({"scope": "api://gateway/.default"});
    world.rig.rotator("entra_application", world.with(&more)).test(&secret).await.unwrap();
    let scopes: Vec<String> =
        world.fake.take_log()[2..].iter().map(|arrived| arrived.form()["scope"].clone()).collect();
    assert_eq!(scopes, [format!("{url}/.default"), "api://gateway/.default".to_owned()]);
}

#[tokio::test]
async fn an_application_without_room_says_so() {
    let world = World::new().await;
    world.directory().room = 1;
    let error = world.create().await.unwrap_err();
    assert!(
        matches!(&error, RotationError::Full(told) if told.contains("Directory_QuotaExceeded")),
        "{error:?}"
    );
}

#[tokio::test]
async fn every_fault_has_its_error() {
    let world = World::new().await;
    let secrets = ["canary", TOKEN, ADMIN];
    let made = world.create().await.unwrap();
    let [one] = world.issued().await.try_into().unwrap();
    let token_too = |settings: &Value| {
        let mut settings = settings.clone();
        let fields = settings.as_object_mut().unwrap();
        fields.retain(|name, _| !name.starts_with("admin_"));
        settings["admin_token"] = json!("env:TOKEN");
        settings
    };
    // The login goes wrong, then the calls behind a token.
    for settings in [world.settings(), token_too(&world.settings())] {
        let rotator = || world.rig.rotator("entra_application", settings.clone());
        let (fake, asking) = (&world.fake, Asking::of(&world.rig, "x"));
        faults(fake, By::Admin, true, &secrets, async || rotator().create(&asking.ask()).await).await;
        faults(fake, By::Admin, true, &secrets, async || rotator().issued(PREFIX, &made).await).await;
        faults(fake, By::Admin, false, &secrets, async || rotator().delete(&one).await).await;
    }
    faults(&world.fake, By::Tested, true, &secrets, async || world.rotator().test(&made).await).await;
    assert_eq!(world.issued().await, [one]);
    // Two changes of one application at once.
    world.fake.fail(1, Fault::Status(409));
    let error = world.create().await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
}
