//! The rotation function, called as Secrets Manager and schedules call it.

use std::sync::{Arc, Mutex, OnceLock};

use keyturn_tests::binaries;
use keyturn_tests::dynamo::Dynamo;
use keyturn_tests::environment::Environment;
use keyturn_tests::invocations::Invocations;
use keyturn_tests::moto::Moto;
use keyturn_tests::openbao::{OpenBao, ROOT};
use keyturn_tests::response::FunctionError;
use keyturn_tests::upstream::Upstream;
use keyturn_tests::upstream::admin::OpenAiAdministration;
use keyturn_tests::within;
use serde_json::{Value, json};

use crate::stack::{MASTER, NO_RETRIES, Stack, TABLE, demo, event, variables};

const SECRET: &str = "prod/keyturn/openai";
const ADMIN: &str = "sk-admin-the-canary-of-the-administrator";
const FIRST: &str = "sk-proj-the-canary-made-by-hand";
const TOKEN: &str = "5b1d7a52-0c0a-4a8e-b1f0-7d8f0a2f6c11";

/// What is done with the steps that Secrets Manager calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    Once,
    /// Each step is called again, in the other spelling of the documentation.
    Twice,
    /// They fail from this step on, without reaching the function.
    FailFrom(&'static str),
}

#[derive(Debug)]
struct Led {
    function: OnceLock<Environment>,
    calls: Mutex<Calls>,
    events: Mutex<Vec<Value>>,
}

struct Rig {
    moto: Moto,
    upstream: Upstream,
    _dynamo: Dynamo,
    led: Arc<Led>,
    _invocations: Invocations,
}

fn other_spelling(step: &str) -> String {
    step.replace("Secret", "_secret")
}

impl Led {
    async fn call(&self, event: Value) -> Result<Value, FunctionError> {
        self.events.lock().unwrap().push(event.clone());
        let calls = *self.calls.lock().unwrap();
        let function = self.function.get().expect("the function is up by then");
        if matches!(calls, Calls::FailFrom(step) if event["Step"] == step) {
            let (kind, message) = ("Sandbox.Timedout".to_owned(), "Task timed out".to_owned());
            return Err(FunctionError { kind, message });
        }
        let answer = function.run(&event).await?;
        if calls == Calls::Twice {
            let mut again = event;
            again["Step"] = other_spelling(again["Step"].as_str().unwrap()).into();
            function.run(&again).await?;
        }
        Ok(answer)
    }
}

impl Rig {
    async fn start(more: &[(&str, &str)]) -> Self {
        let led = Led { function: OnceLock::new(), calls: Mutex::new(Calls::Once), events: Mutex::default() };
        let led = Arc::new(led);
        let handler = Arc::clone(&led);
        let invocations = Invocations::start(move |event| {
            let handler = Arc::clone(&handler);
            async move { handler.call(event).await }
        });
        let invocations = invocations.await;
        let moto = Moto::start_leading(&invocations.url(), &[]).await;
        let dynamo = Dynamo::start().await;
        let upstream = Upstream::start(&[FIRST]).await;
        upstream.administer(OpenAiAdministration { admin: ADMIN.to_owned() });
        moto.create_secret(SECRET, FIRST).await;
        moto.tag(SECRET, &tags(&upstream)).await;
        let (secrets, table) = (moto.url(), dynamo.url());
        let mut variables = vec![
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", &table),
            ("OPENAI_ADMIN_KEY", ADMIN),
            ("KEYTURN_LONGEST_CALL_SECONDS", "0"),
        ];
        variables.extend_from_slice(more);
        let function = Environment::start(&binaries::rotation(), &variables).await;
        led.function.set(function).expect("set once");
        Self { moto, upstream, _dynamo: dynamo, led, _invocations: invocations }
    }

    fn function(&self) -> &Environment {
        self.led.function.get().unwrap()
    }

    fn calls(&self, calls: Calls) {
        *self.led.calls.lock().unwrap() = calls;
    }

    /// The steps that Secrets Manager has called, and that it called them all for one version.
    fn take_steps(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.led.events.lock().unwrap());
        assert!(events.windows(2).all(|two| two[0]["ClientRequestToken"] == two[1]["ClientRequestToken"]));
        events.iter().map(|event| event["Step"].as_str().unwrap().to_owned()).collect()
    }

    /// Rotates from beginning to end.
    async fn rotate(&self) {
        let answer = self.moto.rotate(SECRET, true).await;
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.function().process().output());
    }

    async fn stages(&self) -> Value {
        self.moto.describe(SECRET).await["VersionIdsToStages"].clone()
    }

    /// Registers an empty version, as a rotation begins with.
    async fn register(&self) {
        self.calls(Calls::FailFrom("createSecret"));
        self.moto.register_pending(SECRET, TOKEN).await;
    }

    async fn step(&self, step: &str) -> Result<Value, FunctionError> {
        self.step_of(step, TOKEN).await
    }

    async fn step_of(&self, step: &str, token: &str) -> Result<Value, FunctionError> {
        let event = json!({"Step": step, "SecretId": SECRET, "ClientRequestToken": token});
        self.function().run(&event).await
    }

    /// The values of the keys that there are.
    fn keys(&self) -> Vec<String> {
        self.upstream.keys(|keys| keys.there().map(|key| key.value.clone()).collect())
    }

    /// No value that there is, or was, is in what the function wrote. Ends a test.
    async fn end(self) {
        self.function().idle().await;
        let output = self.function().process().output();
        assert!(output.contains("rotation"), "the function wrote nothing of a rotation:\n{output}");
        let mut values =
            self.upstream.keys(|keys| keys.ever().map(|key| key.value.clone()).collect::<Vec<_>>());
        values.push(ADMIN.to_owned());
        for value in values {
            assert!(!output.contains(&value), "a secret value is in the log:\n{output}");
        }
    }
}

fn tags(upstream: &Upstream) -> Vec<(&'static str, &'static str)> {
    // Tests end with their process.
    let api_base: &'static str = Box::leak(upstream.openai_base().into_boxed_str());
    vec![
        ("keyturn:rotator", "openai"),
        ("keyturn:project", "proj_1"),
        ("keyturn:service_account", "svc_1"),
        ("keyturn:admin_key", "env:OPENAI_ADMIN_KEY"),
        ("keyturn:overlap", "0s"),
        ("keyturn:api_base", api_base),
    ]
}

#[tokio::test]
async fn secrets_manager_leads_a_rotation_through_the_four_steps() {
    let rig = Rig::start(&[]).await;
    let before = rig.moto.describe(SECRET).await;
    rig.rotate().await;
    let events = rig.led.events.lock().unwrap().clone();
    let (token, authority) = (events[0]["ClientRequestToken"].as_str().unwrap(), &events[1]["RotationToken"]);
    assert!(events[0]["SecretId"].as_str().unwrap().starts_with("arn:aws:secretsmanager:"));
    assert_eq!(rig.take_steps(), ["createSecret", "setSecret", "testSecret", "finishSecret"]);

    let current = rig.moto.read_secret(SECRET).await;
    assert_ne!(current, FIRST);
    let stages = rig.stages().await;
    assert!(stages[token].as_array().unwrap().contains(&json!("AWSCURRENT")), "{stages}");
    let first = before["VersionIdsToStages"].as_object().unwrap().keys().next().unwrap();
    assert_eq!(stages[first], json!(["AWSPREVIOUS"]));
    assert_eq!(rig.keys(), [FIRST, &current]);
    // The new key's name leads from the service back to the rotation.
    let name = rig.upstream.keys(|keys| keys.there().last().unwrap().name.clone());
    assert!(name.starts_with("keyturn-") && name.ends_with(token), "{name}");
    // What lets a rotation write over accounts is passed on.
    let put = rig.moto.last_call("PutSecretValue").unwrap();
    assert_eq!(
        (put["ClientRequestToken"].as_str(), put["VersionStages"].clone()),
        (Some(token), json!(["AWSPENDING"]))
    );
    assert_eq!(put["RotationToken"], events[0]["RotationToken"]);
    assert_ne!(put["RotationToken"], *authority, "every step has one of its own");
    rig.end().await;
}

#[tokio::test]
async fn every_step_may_be_called_twice_and_is_spelt_in_two_ways() {
    let rig = Rig::start(&[]).await;
    rig.calls(Calls::Twice);
    rig.rotate().await;
    rig.rotate().await;
    let current = rig.moto.read_secret(SECRET).await;
    // The second rotation took the first one's key back, which was the previous one's by then.
    let keys = rig.keys();
    assert_eq!((keys.first().map(String::as_str), keys.last()), (Some(FIRST), Some(&current)));
    assert_eq!(keys.len(), 3, "one made by hand, one current, one previous");
    rig.end().await;
}

#[tokio::test]
async fn what_is_left_of_a_rotation_is_taken_back_by_a_schedule() {
    let rig = Rig::start(&[]).await;
    rig.rotate().await;
    rig.rotate().await;
    assert_eq!(rig.keys().len(), 3);
    let retired = rig.function().run(&json!({"action": "retire"})).await.unwrap();
    assert_eq!(retired, json!({"secrets": 1, "retired": 1}));
    assert_eq!(rig.keys(), [FIRST, &rig.moto.read_secret(SECRET).await]);
    let stages = rig.stages().await;
    assert!(!stages.to_string().contains("AWSPREVIOUS"), "a stage names what is gone: {stages}");
    let again = json!({"action": "retire", "secret": format!("aws-secretsmanager:{SECRET}")});
    assert_eq!(rig.function().run(&again).await.unwrap(), json!({"secrets": 1, "retired": 0}));
    // Nothing is in the way of the next rotation.
    rig.rotate().await;
    rig.end().await;
}

#[tokio::test]
async fn a_trial_issues_nothing_and_finds_a_credential_that_does_not_work() {
    let rig = Rig::start(&[]).await;
    let answer = rig.moto.rotate(SECRET, false).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(rig.take_steps(), ["testSecret"]);
    assert_eq!(rig.keys(), [FIRST]);
    assert_eq!(rig.stages().await.as_object().unwrap().len(), 1);
    rig.end().await;
}

#[tokio::test]
async fn a_rotation_that_broke_off_is_gone_on_with() {
    let rig = Rig::start(&[]).await;
    for (from, keys) in [("createSecret", 1), ("setSecret", 2), ("testSecret", 2), ("finishSecret", 2)] {
        rig.calls(Calls::FailFrom(from));
        assert_eq!(rig.moto.rotate(SECRET, true).await.status, 400, "{from}");
        assert_eq!(rig.keys().len(), keys, "{from}");
        assert_eq!(rig.moto.read_secret(SECRET).await, FIRST, "{from}");
    }
    rig.calls(Calls::Once);
    let answer = rig.moto.rotate(SECRET, true).await;
    assert!(answer.text().contains("A previous rotation isn't complete"), "{}", answer.text());
    assert_eq!(
        rig.keys(),
        [FIRST, &rig.moto.read_secret(SECRET).await],
        "one version and one key for all of it"
    );
    rig.rotate().await;
    rig.end().await;
}

#[tokio::test]
async fn steps_that_make_no_sense_are_refused_and_change_nothing() {
    let rig = Rig::start(&[]).await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    let says = |result: Result<Value, FunctionError>, kind: &str, parts: &[&str]| {
        let error = result.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        for part in parts {
            assert!(error.message.contains(part), "{part:?} is not in {error}");
        }
    };
    // Rotation was never switched on.
    let off = rig.step("createSecret").await;
    says(off, "RotationFailed", &[SECRET, "createSecret", "rotation is not enabled", "rotation schedule"]);
    rig.register().await;
    let lost = rig.step_of("setSecret", unknown).await;
    says(lost, "RotationFailed", &[SECRET, "setSecret", "not known", "start a new rotation"]);
    says(rig.step("deleteSecret").await, "InvalidEvent", &["createSecret, setSecret"]);
    says(rig.step_of("createSecret", "short").await, "InvalidEvent", &["32 to 64"]);
    // An empty version is never made the current one. (The waits of the function are real here: 7 s.)
    let empty = rig.step("finishSecret").await;
    says(empty, "RotationFailed", &[SECRET, "finishSecret"]);
    // The test of an empty version is a trial.
    rig.step("testSecret").await.unwrap();
    assert_eq!(rig.keys(), [FIRST]);
    rig.step("createSecret").await.unwrap();
    // Somebody clears the pending stage under our feet.
    rig.moto.unstage(SECRET, "AWSPENDING", TOKEN).await;
    let moved = rig.step("finishSecret").await;
    says(moved, "RotationFailed", &[SECRET, "finishSecret", "not pending", "keyturn rotation status"]);
    assert_eq!(rig.moto.read_secret(SECRET).await, FIRST);
    // The key that was made for it is in no version with a stage any more.
    rig.function().run(&json!({"action": "retire"})).await.unwrap();
    assert_eq!(rig.keys(), [FIRST]);
    rig.end().await;
}

#[tokio::test]
async fn a_failure_names_the_secret_the_step_and_the_next_move_and_no_value() {
    let rig = Rig::start(&[("OPENAI_ADMIN_KEY", "sk-admin-a-wrong-canary")]).await;
    rig.register().await;
    let error = rig.step("createSecret").await.unwrap_err();
    assert_eq!(error.kind, "RotationFailed");
    for part in [SECRET, "createSecret", "administrator's credential", "docs/rotation.md"] {
        assert!(error.message.contains(part), "{part:?} is not in {error}");
    }
    let output = rig.function().process().output();
    for text in [&error.message, &output] {
        assert!(!text.contains("canary"), "{text}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_schedule_rotates_a_secret_in_vault() {
    let vault = OpenBao::shared();
    let name = vault.fresh("providers");
    let path = format!("secret/data/{name}");
    let rig = Rig::start(&[
        ("HCP_VAULT_ADDR", vault.url()),
        ("HCP_VAULT_TOKEN", ROOT),
        ("KEYTURN_ROTATED_SECRETS", &format!("vault:secret/{name}")),
    ])
    .await;
    let settings = json!({"rotator": "openai", "project": "proj_1", "service_account": "svc_1", "overlap": "0s",
        "admin_key": "env:OPENAI_ADMIN_KEY", "api_base": rig.upstream.openai_base()});
    let fields =
        json!({"OPENAI_API_KEY": FIRST, "OTHER": "stays", "keyturn:rotator": {"OPENAI_API_KEY": settings}});
    vault.write(&path, &json!({"data": fields})).await;
    let rotate = json!({"action": "rotate", "secret": format!("vault:secret/{name}#OPENAI_API_KEY")});
    for _ in 0..2 {
        rig.function().run(&rotate).await.unwrap();
    }
    let fields = vault.read(&path).await["data"]["data"].clone();
    let current = fields["OPENAI_API_KEY"].as_str().unwrap();
    assert_eq!(
        (fields["OTHER"].as_str(), rig.keys().last().map(String::as_str)),
        (Some("stays"), Some(current))
    );
    assert_eq!(rig.keys().len(), 3);
    rig.function().run(&json!({"action": "retire"})).await.unwrap();
    assert_eq!(rig.keys(), [FIRST, current]);
    let wrong = rig.function().run(&json!({"action": "rotate", "secret": "vault:secret/nowhere#A"})).await;
    assert!(wrong.unwrap_err().message.contains("vault:secret/nowhere"));
    rig.end().await;
}

#[tokio::test]
async fn a_schedule_rotates_the_virtual_keys_that_are_due() {
    let stack = Stack::start().await;
    let kept = "general_settings:\n  key_management_system: aws_secret_manager\n  \
                key_management_settings: {store_virtual_keys: true, access_mode: write_only}\n";
    let config = stack.config(&[demo()], &format!("{NO_RETRIES}{kept}"));
    let dynamo = stack.dynamo.url();
    let table = [
        ("KEYTURN_TABLE", TABLE),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.as_str()),
        ("KEYTURN_CONFIG", &config),
    ];
    let rig = Rig::start(&table).await;
    let secrets = rig.moto.url();
    let more = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.as_str())];
    let keys = Environment::start(&binaries::keys(), &variables(&config, &dynamo, &more)).await;
    let make = async |interval: &str| {
        let fields = json!({"key_alias": interval, "auto_rotate": true, "rotation_interval": interval});
        let made = keys.call(&event("/key/generate", MASTER, &fields)).await.json();
        let names = rig.moto.secrets().await;
        let name = names.into_iter().find(|name| name.contains(&format!("/{interval}"))).unwrap();
        assert_eq!(rig.moto.read_secret(&name).await, made["key"], "{made}");
        (name, made["key"].as_str().unwrap().to_owned())
    };
    let ((due, before), (fresh, fresh_before)) = (make("1s").await, make("30d").await);
    // It is due when a second of the programs' own clock is over, which nothing tells.
    within("the key that is due", async {
        while rig.function().run(&json!({"action": "keys"})).await.unwrap()["rotated"] == 0 {}
    })
    .await;
    assert_ne!(rig.moto.read_secret(&due).await, before);
    assert_eq!(rig.moto.read_secret(&fresh).await, fresh_before);
    let output = rig.function().process().output();
    assert!(output.contains("virtual key rotated") && !output.contains(&before), "{output}");
}

#[tokio::test]
async fn without_a_key_table_there_are_no_virtual_keys_to_rotate() {
    let rig = Rig::start(&[]).await;
    let error = rig.function().run(&json!({"action": "keys"})).await.unwrap_err();
    assert_eq!(error.kind, "KeysFailed");
    assert!(error.message.contains("KEYTURN_TABLE"), "{error}");
}
