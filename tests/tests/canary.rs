//! Canaries: strings that stand for secrets, prompts and completions, looked for where they must not be.
//!
//! Each canary is searched for whole and by the parts that a "masked" or cut-off form would leave.

use std::collections::BTreeMap;

use bytes::Bytes;
use keyturn_keys::manage::KeyFields;
use keyturn_tests::binaries;
use keyturn_tests::environment::Environment;
use keyturn_tests::gateway::Gateway;
use keyturn_tests::http::{Answer, Client};
use keyturn_tests::moto::Moto;
use keyturn_tests::upstream::{Behaviour, Gate, Piece};
use serde_json::{Value, json};

use crate::stack::{Model, NO_RETRIES, Stack, demo, event, variables};

/// A canary and its telling parts.
struct Canary {
    name: &'static str,
    value: &'static str,
    parts: &'static [&'static str],
}

const OPENAI: Canary =
    Canary { name: "the OpenAI key", value: "sk-proj-birdone-7f3a9c-tailZq9X", parts: &["birdone", "Zq9X"] };
const ANTHROPIC: Canary = Canary {
    name: "the Anthropic key",
    value: "sk-ant-birdtwo-1b2c3d-tailWk4Y",
    parts: &["birdtwo", "Wk4Y"],
};
const MASTER: Canary =
    Canary { name: "the master key", value: "sk-birdthree-master-tailVm7U", parts: &["birdthree", "Vm7U"] };
const VIRTUAL: Canary =
    Canary { name: "a virtual key", value: "sk-birdfour-virtual-tailTn2R", parts: &["birdfour", "Tn2R"] };
const WRONG: Canary = Canary {
    name: "a key that nobody has",
    value: "sk-birdfive-unknown-tailSb8P",
    parts: &["birdfive", "Sb8P"],
};
const PROMPT: Canary =
    Canary { name: "the prompt", value: "birdsix tells a secret plan", parts: &["birdsix", "secret plan"] };
const COMPLETION: Canary = Canary {
    name: "the completion",
    value: "birdseven answers with a private letter",
    parts: &["birdseven", "private letter"],
};

/// What neither a log nor a client may ever see.
const SECRETS: &[&Canary] = &[&OPENAI, &ANTHROPIC, &MASTER, &VIRTUAL, &WRONG];

/// Where canaries were found. All of them are told at once, in the end.
#[derive(Default)]
struct Leaks(Vec<String>);

impl Leaks {
    fn look(&mut self, canaries: &[&Canary], text: &str, place: &str) {
        for canary in canaries {
            let found = canary.parts.iter().find_map(|part| Some((part, text.find(part)?)));
            let Some((part, at)) = found else { continue };
            let from = text[..at].char_indices().rev().nth(120).map_or(0, |(at, _)| at);
            let near: String = text[from..].chars().take(240).collect();
            self.0.push(format!("{} ({part}) shows up in {place}: …{near}…", canary.name));
        }
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "{} leaks:\n\n{}", self.0.len(), self.0.join("\n\n"));
    }
}

/// Everything that a client is shown.
fn shown(answer: &Answer) -> String {
    format!("{}\n{:?}\n{}", answer.status, answer.headers, answer.text())
}

fn request(model: &str, stream: bool) -> Value {
    json!({
        "model": model,
        "stream": stream,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": PROMPT.value}],
    })
}

/// A chunk before an error, so that the error comes when the answer is under way.
const FIRST_CHUNK: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";

/// The upstream models with a behaviour of their own.
fn misbehaviours(gate: &Gate) -> BTreeMap<&'static str, Behaviour> {
    BTreeMap::from([
        ("echo-400", Behaviour::EchoKey(400)),
        ("echo-401", Behaviour::EchoKey(401)),
        ("echo-403", Behaviour::EchoKey(403)),
        ("echo-429", Behaviour::EchoKey(429)),
        ("echo-500", Behaviour::EchoKey(500)),
        ("echo-event", Behaviour::EchoKeyInStream(Vec::new())),
        ("echo-late", Behaviour::EchoKeyInStream(vec![Piece::Bytes(Bytes::from_static(FIRST_CHUNK))])),
        ("html", Behaviour::html(503)),
        ("cut", Behaviour::Cut(3)),
        ("truncated", Behaviour::Truncated(3)),
        ("garbage", Behaviour::garbage_sse()),
        ("hang", Behaviour::hang(gate)),
        ("rate-limited", Behaviour::rate_limited()),
    ])
}

/// A configuration with one OpenAI and one Anthropic deployment for each misbehaviour, and good ones.
async fn set_up(gate: &Gate) -> (Stack, String) {
    let stack = Stack::start().await;
    stack.upstream.say(COMPLETION.value);
    stack.upstream.allow(OPENAI.value);
    stack.upstream.allow(ANTHROPIC.value);
    let mut models = vec![demo()];
    let behaviours = misbehaviours(gate);
    for name in behaviours.keys().copied().chain(["good"]) {
        for (provider, variable) in [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")] {
            let model = format!("{provider}/{name}");
            // The test lives as long as these.
            let (group, model) = (format!("{provider}-{name}").leak(), model.leak());
            let mut extra = format!("api_key: os.environ/{variable}");
            // The others must not fail because the machine is busy.
            if name == "hang" {
                extra.push_str("\ntimeout: 0.5\nstream_timeout: 0.5");
            }
            models.push(Model { name: group, model, extra });
        }
    }
    for (name, behaviour) in behaviours {
        stack.upstream.when_model(name, behaviour);
    }
    let config = stack.config(&models, NO_RETRIES);
    (stack, config)
}

const KEYS: &[(&str, &str)] = &[
    ("OPENAI_API_KEY", OPENAI.value),
    ("ANTHROPIC_API_KEY", ANTHROPIC.value),
    ("KEYTURN_MASTER_KEY", MASTER.value),
];

async fn chat(gateway: &Gateway, key: &str, body: &Value) -> Answer {
    let client = Client::default();
    let url = format!("{}/v1/chat/completions", gateway.url());
    let bearer = format!("Bearer {key}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    match client.open(http::Method::POST, &url, &headers, body.to_string()).await {
        Ok(mut streaming) => {
            // A stream that the gateway breaks off counts as far as it came.
            let (status, headers) = (streaming.status, streaming.headers.clone());
            let mut bytes = Vec::new();
            while let Ok(Some(chunk)) = streaming.chunk().await {
                bytes.extend_from_slice(&chunk);
            }
            Answer { status, headers, body: bytes.into() }
        }
        Err(broken) => panic!("no answer: {broken:?}"),
    }
}

#[tokio::test]
async fn the_local_gateway_keeps_what_it_is_told() {
    let mut leaks = Leaks::default();
    let gate = Gate::default();
    let (stack, config) = set_up(&gate).await;
    let gateway = stack.gateway(&config, KEYS).await;

    for provider in ["openai", "anthropic"] {
        for stream in [false, true] {
            let answer = chat(&gateway, MASTER.value, &request(&format!("{provider}-good"), stream)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.text().contains("birdseven"), "the client did not get its completion");
            leaks.look(SECRETS, &shown(&answer), "a good answer");
            for name in misbehaviours(&gate).keys() {
                let model = format!("{provider}-{name}");
                let answer = chat(&gateway, MASTER.value, &request(&model, stream)).await;
                leaks.look(SECRETS, &shown(&answer), &format!("the answer of {model}, stream {stream}"));
                leaks.look(&[&PROMPT], &shown(&answer), &format!("the answer of {model}, stream {stream}"));
            }
        }
    }

    let client = Client::default();
    let url = gateway.url();
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/models", "/v1/nowhere"] {
        for headers in [
            vec![("authorization", WRONG.value)],
            vec![("authorization", "Bearer birdfive-without-its-prefix-tailSb8P")],
            vec![("x-api-key", WRONG.value)],
            vec![("x-goog-api-key", WRONG.value)],
            vec![],
        ] {
            let body = request("openai-good", false).to_string();
            let method = if path == "/v1/models" { http::Method::GET } else { http::Method::POST };
            let answer = client.send(method, &format!("{url}{path}"), &headers, body).await;
            assert!((400..500).contains(&answer.status), "{path} {headers:?}: {}", answer.status);
            // LiteLLM's message for a token without `sk-` shows its ends; the middle is what must not be seen.
            let text = shown(&answer).replace("tailSb8P", "").replace("Sb8P", "");
            leaks.look(SECRETS, &text, path);
        }
        let query = format!("{url}{path}?key={}", WRONG.value);
        let answer = client.get(&query, &[]).await;
        leaks.look(SECRETS, &shown(&answer), "the answer to a key in the query");
    }
    let bearer = format!("Bearer {}", MASTER.value);
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    for body in [
        format!("{{\"model\": \"openai-good\", \"messages\": \"{}", PROMPT.value),
        format!("{{\"model\": \"openai-good\", \"messages\": {:?}}}", PROMPT.value),
        format!("{{\"messages\": [{{\"content\": {:?}}}]}}", PROMPT.value),
        PROMPT.value.to_owned(),
    ] {
        let url = format!("{url}/v1/chat/completions");
        let answer = client.send(http::Method::POST, &url, &headers, body).await;
        assert!(answer.status >= 400, "{}", answer.text());
        leaks.look(SECRETS, &shown(&answer), "the answer to a malformed request");
        leaks.look(&[&PROMPT], &shown(&answer), "the answer to a malformed request");
    }

    // The provider no longer knows the key: its answer holds the masked key, ours must not.
    stack.upstream.revoke(OPENAI.value);
    stack.upstream.revoke(ANTHROPIC.value);
    for model in ["openai-good", "anthropic-good"] {
        let answer = chat(&gateway, MASTER.value, &request(model, false)).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        leaks.look(SECRETS, &shown(&answer), "the answer when the provider refuses the credential");
    }

    let mut gateway = gateway;
    gateway.process().signal("INT").await;
    let (_, output) = gateway.process_mut().exit().await;
    assert!(output.contains("openai-good"), "there is no log to look into:\n{output}");
    leaks.look(SECRETS, &output, "the output of keyturn");
    leaks.look(&[&PROMPT, &COMPLETION], &output, "the output of keyturn");
    leaks.assert_none();
}

/// Requests of the management API with keys where they belong and where they do not, and how they may end.
fn management() -> Vec<(&'static str, Value)> {
    let value = VIRTUAL.value;
    vec![
        ("/key/generate", json!({"key": value, "key_alias": "bird"})),
        ("/key/generate", json!({"key": value})),
        ("/key/generate", json!({"key": &value[3..]})),
        ("/key/generate", json!({"duration": value})),
        ("/key/generate", json!({"models": value})),
        ("/key/generate", json!({"max_budget": value})),
        ("/key/generate", json!({value: 1})),
        ("/key/update", json!({"key": value, "rpm_limit": 5})),
        ("/key/update", json!({"key": WRONG.value})),
        ("/key/block", json!({"key": value})),
        ("/key/unblock", json!({"key": value})),
        ("/key/regenerate", json!({"key": value, "grace_period": WRONG.value})),
        ("/key/delete", json!({"keys": [WRONG.value]})),
        ("/key/regenerate", json!({"key": WRONG.value, "new_master_key": WRONG.value})),
        ("/team/new", json!({"team_id": 5, "metadata": value})),
        ("/user/new", json!({"user_role": value})),
    ]
}

#[tokio::test]
async fn the_management_api_keeps_what_it_is_told() {
    let mut leaks = Leaks::default();
    let (stack, config) = set_up(&Gate::default()).await;
    let mut gateway = stack.gateway(&config, KEYS).await;
    let (client, url) = (Client::default(), gateway.url());
    for caller in [MASTER.value, WRONG.value, VIRTUAL.value] {
        let bearer = format!("Bearer {caller}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        for (path, body) in management() {
            let answer =
                client.send(http::Method::POST, &format!("{url}{path}"), &headers, body.to_string()).await;
            // A key is shown by the answer that makes it, and given back to whoever names it in a change, as LiteLLM does.
            let made = answer.status == 200 && matches!(path, "/key/generate" | "/key/update");
            let shown = if made { shown(&answer).replacen(VIRTUAL.value, "", 1) } else { shown(&answer) };
            // `key_name` has the last four characters, as LiteLLM's has.
            let shown = shown.replace("sk-...Tn2R", "");
            leaks.look(SECRETS, &shown, &format!("the answer to {path} {:?}", answer.status));
        }
        for path in ["/key/info", "/v2/key/info", "/key/list", "/spend/keys", "/key/bird"] {
            let answer = client.get(&format!("{url}{path}?key={}", WRONG.value), &headers).await;
            leaks.look(SECRETS, &shown(&answer).replace("sk-...Tn2R", ""), path);
        }
    }
    gateway.process().signal("INT").await;
    let (_, output) = gateway.process_mut().exit().await;
    assert!(output.contains("/key/generate"), "there is no log to look into:\n{output}");
    leaks.look(SECRETS, &output, "the output of keyturn");
    leaks.assert_none();
}

#[tokio::test]
async fn the_function_keeps_what_it_is_told() {
    let mut leaks = Leaks::default();
    let gate = Gate::default();
    let (stack, config) = set_up(&gate).await;
    stack.virtual_key(Some(VIRTUAL.value), KeyFields::default()).await;
    let function = stack.environment(&config, KEYS).await;
    let mut seen = Vec::new();
    for provider in ["openai", "anthropic"] {
        for stream in [false, true] {
            for key in [MASTER.value, VIRTUAL.value, WRONG.value] {
                let ask = event("/v1/chat/completions", key, &request(&format!("{provider}-good"), stream));
                let answer = function.call(&ask).await;
                assert_eq!(answer.status, if key == WRONG.value { 401 } else { 200 }, "{}", answer.text());
                seen.push(format!("{:?}\n{}", answer.headers, answer.text()));
            }
            for name in misbehaviours(&gate).keys() {
                let body = request(&format!("{provider}-{name}"), stream);
                let answer = function.call(&event("/v1/chat/completions", VIRTUAL.value, &body)).await;
                seen.push(format!("{:?}\n{}", answer.headers, answer.text()));
            }
        }
    }
    // Events that are none: what is reported about them must not repeat them.
    for odd in [json!({"key": VIRTUAL.value, "prompt": PROMPT.value}), json!(PROMPT.value), Value::Null] {
        match function.invoke(&odd).await {
            Ok(answer) => seen.push(answer.collect().await.text()),
            Err(error) => seen.push(error.to_string()),
        }
    }
    let mut newline = event("/v1/chat/completions", "x", &request("openai-good", false));
    newline["headers"]["authorization"] = format!("Bearer {}\n", VIRTUAL.value).into();
    match function.invoke(&newline).await {
        Ok(answer) => seen.push(answer.collect().await.text()),
        Err(error) => seen.push(error.to_string()),
    }
    for text in &seen {
        leaks.look(SECRETS, text, "an answer of the function");
    }
    let output = function.shut_down().await;
    assert!(output.contains("openai-good"), "there is no log to look into:\n{output}");
    leaks.look(SECRETS, &output, "the output of the function");
    leaks.look(&[&PROMPT, &COMPLETION], &output, "the output of the function");
    leaks.assert_none();
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_without_its_secrets() {
    let mut leaks = Leaks::default();
    let stack = Stack::start().await;
    let dynamo = stack.dynamo.url();
    let key = OPENAI.value;
    for (config, named) in [
        (
            format!("model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, api_kye: {key}}}\n"),
            "api_kye",
        ),
        (
            format!(
                "model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, api_key: [{key}]}}\n"
            ),
            "api_key",
        ),
        (
            format!("model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, api_key: {key}\n"),
            "line",
        ),
        (
            format!("model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, timeout: {key}}}\n"),
            "timeout",
        ),
        (format!("model_list: {key}\n"), "model_list"),
        (format!("general_settings: {{master_kee: {key}}}\nmodel_list: []\n"), "master_kee"),
        (format!("{key}: {key}\n"), "not a known setting"),
        (
            format!(
                "model_list:\n- model_name: a\n  litellm_params: {{model: openai/a, api_key: 'aws-secretsmanager:prod/providers?stage=', organization: {key}}}\n"
            ),
            "api_key",
        ),
    ] {
        let path = stack.path().join("wrong.yaml");
        std::fs::write(&path, &config).unwrap();
        let path = path.to_string_lossy();
        let started = Environment::try_start(&binaries::request(), &variables(&path, &dynamo, KEYS)).await;
        let Err(failure) = started else { panic!("the function took\n{config}") };
        assert!(!failure.status.success(), "{}", failure.status);
        let shown = format!("{}\n{}", failure.error, failure.output);
        assert!(failure.error.message.contains(named), "{named} is not in: {shown}");
        leaks.look(SECRETS, &shown, &format!("the refusal of\n{config}"));
        let mut gateway = Gateway::spawn(&binaries::keyturn(), stack.path(), &["--config", &path], KEYS);
        let (status, output) = gateway.exit().await;
        assert!(!status.success(), "keyturn took\n{config}");
        assert!(output.contains(named), "{named} is not in: {output}");
        leaks.look(SECRETS, &output, &format!("keyturn's refusal of\n{config}"));
    }
    leaks.assert_none();
}

#[tokio::test]
async fn a_secret_that_cannot_be_used_is_not_shown() {
    let mut leaks = Leaks::default();
    let stack = Stack::start().await;
    let moto = Moto::start().await;
    let secret = "prod/keyturn/providers";
    let extra = format!("api_key: aws-secretsmanager:{secret}#OPENAI_API_KEY");
    let config = stack.config(&[Model { name: "gpt", model: "openai/gpt-4o-mini", extra }], NO_RETRIES);
    for value in [
        format!("{} but not JSON", OPENAI.value),
        json!({"OTHER": OPENAI.value}).to_string(),
        json!({"OPENAI_API_KEY": {"nested": OPENAI.value}}).to_string(),
        json!({"OPENAI_API_KEY": format!("{}\nx", OPENAI.value)}).to_string(),
    ] {
        moto.reset().await;
        moto.create_secret(secret, &value).await;
        let endpoint = moto.url();
        let more = [("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.as_str())];
        let gateway = stack.gateway(&config, &more).await;
        let answer = chat(&gateway, gateway.key(), &request("gpt", false)).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        leaks.look(SECRETS, &shown(&answer), "the answer");
        let mut gateway = gateway;
        gateway.process().signal("INT").await;
        leaks.look(SECRETS, &gateway.process_mut().exit().await.1, "the output of keyturn");
    }
    assert_eq!(stack.upstream.count(), 0, "a request went out with an unusable credential");
    leaks.assert_none();
}
