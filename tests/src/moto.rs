//! AWS Secrets Manager, KMS and STS: the moto server from `.venv`, behind a proxy that counts the calls.
//!
//! moto checks no signatures, so these helpers send a fixed one; its credential scope names the service. One of
//! its faults to know: after a stage was moved ([`Moto::move_stage`]), a read that names no stage still gets the
//! old version, so readers name `AWSCURRENT`; and a write without a version id then leaves two versions current. A
//! pending version that has a value takes another one, where AWS refuses it, and is then pending only, even if it was
//! current too.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::binaries;
use crate::fake::Mishap;
use crate::http::{Answer, Client};
use crate::process::{Process, Start};
use crate::proxy::Proxy;
use crate::python;

/// The region of everything in this server.
pub const REGION: &str = "us-east-1";

/// The running server.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    direct: String,
    proxy: Proxy,
    client: Client,
    /// The id of a key of KMS, made when it is first needed.
    kms_key: OnceCell<String>,
}

impl Moto {
    /// Starts an empty server and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn start() -> Self {
        Self::launch(python::program("moto_server"), Vec::new(), &[]).await
    }

    /// Starts one that leads rotations as AWS does (`tests/python/secrets_manager.py` says what else it does better
    /// than moto): it calls functions at `invocations`, an [`Invocations`](crate::invocations::Invocations).
    /// `environment` is added to its environment.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub async fn start_leading(invocations: &str, environment: &[(&str, &str)]) -> Self {
        let script = binaries::workspace().join("tests/python/secrets_manager.py");
        let arguments = vec![script.to_string_lossy().into_owned()];
        let environment = [&[("INVOCATIONS_URL", invocations)], environment].concat();
        Self::launch(python::program("python"), arguments, &environment).await
    }

    async fn launch(program: PathBuf, mut arguments: Vec<String>, more: &[(&str, &str)]) -> Self {
        // The system chooses the port; moto's web server prints the one it got.
        arguments.extend(["-H", "127.0.0.1", "-p", "0"].map(str::to_owned));
        let environment = [("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1"), ("NO_COLOR", "1")];
        let environment = environment.iter().chain(more);
        let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let process = Process::start(&Start {
            program,
            arguments,
            environment: environment.collect(),
            directory: std::env::temp_dir(),
        });
        let listening = "Running on ";
        let line = process.line("its address", |line| line.text.contains(listening)).await;
        let at = line.text.find(listening).map_or(0, |at| at + listening.len());
        let direct = line.text[at..].trim().to_owned();
        let proxy = Proxy::start(&direct).await;
        Self { process, direct, proxy, client: Client::default(), kms_key: OnceCell::new() }
    }

    /// The endpoint, for `AWS_ENDPOINT_URL` or that of one service.
    #[must_use]
    pub fn url(&self) -> String {
        self.proxy.url()
    }

    /// The endpoint past the proxy, whose calls are not counted.
    #[must_use]
    pub fn direct_url(&self) -> &str {
        &self.direct
    }

    /// How many calls of one operation (`GetSecretValue`) came through [`Self::url`].
    #[must_use]
    pub fn requests(&self, operation: &str) -> u64 {
        self.proxy.calls(operation)
    }

    /// What the last call of one operation through [`Self::url`] said.
    #[must_use]
    pub fn last_call(&self, operation: &str) -> Option<Value> {
        self.proxy.last(operation)
    }

    /// How many reads of secret values came: `GetSecretValue` and `BatchGetSecretValue`.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.requests("GetSecretValue") + self.requests("BatchGetSecretValue")
    }

    /// While down, every call through [`Self::url`] is answered 503.
    pub fn outage(&self, down: bool) {
        self.proxy.outage(down);
    }

    /// From now on every call through [`Self::url`] fails like this; or none does.
    pub fn fail(&self, mishap: Option<Mishap>) {
        self.proxy.fail(mishap);
    }

    /// From now on, calls through [`Self::url`] that name this secret are denied, as by IAM: moto checks no
    /// policies of its own here.
    pub fn deny(&self, name: &str) {
        self.proxy.deny(name);
    }

    /// Makes a secret; returns its version id.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn create_secret(&self, name: &str, value: &str) -> String {
        let answer = self.call("CreateSecret", &json!({"Name": name, "SecretString": value})).await;
        text(&answer, "VersionId")
    }

    /// Stores a new value under the given stages (`AWSCURRENT`, `AWSPENDING`); returns its version id.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn put_secret(&self, name: &str, value: &str, stages: &[&str]) -> String {
        let ask = json!({"SecretId": name, "SecretString": value, "VersionStages": stages});
        text(&self.call("PutSecretValue", &ask).await, "VersionId")
    }

    /// Moves a stage from one version to another, as the last step of a rotation does.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn move_stage(&self, name: &str, stage: &str, from: &str, to: &str) {
        let ask = json!({
            "SecretId": name,
            "VersionStage": stage,
            "RemoveFromVersionId": from,
            "MoveToVersionId": to,
        });
        self.call("UpdateSecretVersionStage", &ask).await;
    }

    /// Takes a stage off a version.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn unstage(&self, name: &str, stage: &str, version: &str) {
        let ask = json!({"SecretId": name, "VersionStage": stage, "RemoveFromVersionId": version});
        self.call("UpdateSecretVersionStage", &ask).await;
    }

    /// Registers a pending version without a value, as Secrets Manager does when a rotation begins.
    ///
    /// # Panics
    ///
    /// When the server does not do it.
    pub async fn register_pending(&self, name: &str, version: &str) {
        // moto registers the version, then looks for the function, which is nowhere.
        let function = format!("arn:aws:lambda:{REGION}:123456789012:function:nobody");
        let ask = json!({
            "SecretId": name,
            "ClientRequestToken": version,
            "RotationLambdaARN": function,
            "RotationRules": {"AutomaticallyAfterDays": 30},
        });
        self.send("RotateSecret", &ask).await;
        let there = self.call("DescribeSecret", &json!({"SecretId": name})).await;
        assert_eq!(there["VersionIdsToStages"][version], json!(["AWSPENDING"]), "{}", self.process.output());
    }

    /// Rotates a secret, or with `immediately = false` tries whether it can be rotated: a server of
    /// [`Self::start_leading`] answers when all steps are done, however long that takes, or when one has failed.
    pub async fn rotate(&self, name: &str, immediately: bool) -> Answer {
        let ask = json!({
            "SecretId": name,
            "RotationLambdaARN": format!("arn:aws:lambda:{REGION}:123456789012:function:rotation"),
            "RotationRules": {"AutomaticallyAfterDays": 30},
            "RotateImmediately": immediately,
        });
        self.send("RotateSecret", &ask).await
    }

    /// Tags a secret.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn tag(&self, name: &str, tags: &[(&str, &str)]) {
        let tags: Vec<Value> =
            tags.iter().map(|(name, value)| json!({"Key": name, "Value": value})).collect();
        self.call("TagResource", &json!({"SecretId": name, "Tags": tags})).await;
    }

    /// What DescribeSecret tells.
    ///
    /// # Panics
    ///
    /// When there is no such secret.
    pub async fn describe(&self, name: &str) -> Value {
        self.call("DescribeSecret", &json!({"SecretId": name})).await
    }

    /// Schedules a secret for deletion.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn schedule_deletion(&self, name: &str) {
        self.call("DeleteSecret", &json!({"SecretId": name, "RecoveryWindowInDays": 7})).await;
    }

    /// Reads a secret's current value, uncounted.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub async fn read_secret(&self, name: &str) -> String {
        let ask = json!({"SecretId": name, "VersionStage": "AWSCURRENT"});
        text(&self.call("GetSecretValue", &ask).await, "SecretString")
    }

    /// Encrypts a value with KMS: the ciphertext in base64, another one each time.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn encrypt(&self, value: &str, context: &Value) -> String {
        let key = self.kms_key().await;
        let ask = json!({"KeyId": key, "Plaintext": STANDARD.encode(value), "EncryptionContext": context});
        text(&self.call_kms("Encrypt", &ask).await, "CiphertextBlob")
    }

    /// The id of the key that it encrypts with.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn kms_key(&self) -> &str {
        let made = || async {
            let answer = self.call_kms("CreateKey", &json!({})).await;
            text(&answer["KeyMetadata"], "KeyId")
        };
        self.kms_key.get_or_init(made).await
    }

    /// The names of all secrets.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn secrets(&self) -> Vec<String> {
        let answer = self.call("ListSecrets", &json!({"MaxResults": 100})).await;
        let secrets = answer["SecretList"].as_array().map(Vec::as_slice).unwrap_or_default();
        secrets.iter().map(|secret| text(secret, "Name")).collect()
    }

    /// A secret's whole ARN.
    ///
    /// # Panics
    ///
    /// When there is no such secret.
    pub async fn arn(&self, name: &str) -> String {
        text(&self.call("DescribeSecret", &json!({"SecretId": name})).await, "ARN")
    }

    /// Forgets everything.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn reset(&self) {
        let url = format!("{}/moto-api/reset", self.direct);
        let answer = self.client.post_json(&url, None, &json!({})).await;
        assert_eq!(answer.status, 200, "moto refused to reset: {}", answer.text());
    }

    /// Calls Secrets Manager past the proxy, so that the test's own calls are not counted.
    async fn call(&self, operation: &str, body: &Value) -> Value {
        let answer = self.send(operation, body).await;
        self.accepted(operation, &answer)
    }

    async fn call_kms(&self, operation: &str, body: &Value) -> Value {
        let answer = self.send_to(("kms", "TrentService"), operation, body).await;
        self.accepted(operation, &answer)
    }

    fn accepted(&self, operation: &str, answer: &Answer) -> Value {
        let refused = format!("moto refused {operation}: {}\n{}", answer.text(), self.process.output());
        assert_eq!(answer.status, 200, "{refused}");
        answer.json()
    }

    async fn send(&self, operation: &str, body: &Value) -> Answer {
        self.send_to(("secretsmanager", "secretsmanager"), operation, body).await
    }

    /// Calls a service by its name in signatures and its name in `X-Amz-Target`.
    async fn send_to(&self, (service, target): (&str, &str), operation: &str, body: &Value) -> Answer {
        let target = format!("{target}.{operation}");
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
        ];
        let url = &self.direct;
        let answer = self.client.open_for_long(::http::Method::POST, url, &headers, body.to_string()).await;
        let answer = match answer {
            Ok(answer) => answer.collect().await,
            Err(broken) => Err(broken),
        };
        answer.unwrap_or_else(|broken| {
            panic!("no answer to {operation}: {broken:?}\n{}", self.process.output())
        })
    }
}

fn text(answer: &Value, field: &str) -> String {
    let value = answer[field].as_str();
    value.unwrap_or_else(|| panic!("no {field} in moto's answer")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Method;

    #[tokio::test]
    async fn reads_through_the_proxy_are_counted_and_ours_are_not() {
        let moto = Moto::start().await;
        let first = moto.create_secret("prod/x", "one").await;
        let second = moto.put_secret("prod/x", "two", &["AWSPENDING"]).await;
        assert_eq!(moto.read_secret("prod/x").await, "one");
        moto.move_stage("prod/x", "AWSCURRENT", &first, &second).await;
        assert_eq!(moto.read_secret("prod/x").await, "two");
        assert_eq!(moto.reads(), 0);

        let authorization = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/secretsmanager/aws4_request";
        let headers = [
            ("authorization", authorization),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "secretsmanager.GetSecretValue"),
        ];
        let url = moto.url();
        let ask = r#"{"SecretId":"prod/x","VersionStage":"AWSCURRENT"}"#;
        let read = || moto.client.send(Method::POST, &url, &headers, ask);
        let answer = read().await.json();
        assert_eq!((&answer["SecretString"], &answer["VersionId"]), (&json!("two"), &json!(second)));
        moto.outage(true);
        assert_eq!(read().await.status, 503);
        moto.outage(false);
        assert_eq!(moto.secrets().await, ["prod/x"]);
        assert!(moto.arn("prod/x").await.contains(":secret:prod/x-"));
        moto.deny("prod/x");
        let denied = read().await;
        assert_eq!((denied.status, &denied.json()["__type"]), (400, &json!("AccessDeniedException")));
        moto.deny("prod/another");
        moto.reset().await;
        assert_eq!(read().await.json()["__type"], "ResourceNotFoundException");
        assert_eq!(moto.reads(), 4);
    }
}
