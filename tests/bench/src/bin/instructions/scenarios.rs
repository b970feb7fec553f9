//! What is counted: the init phase, and what a warm function does for one request or one piece of a stream.
//!
//! A function is run twice, with some work and with more of the same; the difference is what the work takes. What
//! happens once (the start, the first connections) falls out of it.

use std::path::Path;

use keyturn_bench::stage::{
    ANTHROPIC, MASTER_KEY, OPENAI, Stage, Stores, all_limits, chat, event, with_tools,
};
use keyturn_keys::manage::KeyFields;
use keyturn_tests::environment::Environment;
use keyturn_tests::upstream::{Behaviour, COMPLETION, Gate};
use serde_json::{Value, json};

use crate::valgrind::{Calls, Valgrind};

const CHAT: &str = "/v1/chat/completions";

/// One line of the record.
pub(crate) struct Scenario {
    /// Its name in the record.
    pub(crate) name: &'static str,
    stores: Stores,
    /// Deployments in the configuration; 0 stands for the stage's own two.
    deployments: usize,
    work: Work,
}

enum Work {
    /// None: from the start of the program to the first call of /next.
    Init,
    /// This many requests, and then twice as many.
    Requests(u32, Ask),
    /// A stream of this many pieces, and then one of twice as many.
    Stream(u32, &'static str),
}

/// Makes the requests' event.
struct Ask {
    key: Key,
    body: fn() -> Value,
    path: &'static str,
}

enum Key {
    Master,
    Virtual(fn() -> KeyFields),
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let scenario = |name, stores, work| Scenario { name, stores, deployments: 0, work };
    let requests = |name, stores, times, key, body| {
        scenario(name, stores, Work::Requests(times, Ask { key, path: CHAT, body }))
    };
    let master = |name, times, body| requests(name, Stores::None, times, Key::Master, body);
    let limited = Key::Virtual(all_limits);
    let unlimited = Key::Virtual(KeyFields::default);
    let native = Ask { key: Key::Master, path: "/v1/messages", body: messages };
    vec![
        scenario("init", Stores::None, Work::Init),
        scenario("init, secret and key table in AWS", Stores::KeysAndSecrets, Work::Init),
        Scenario { deployments: 100, ..scenario("init, 100 deployments", Stores::None, Work::Init) },
        master("request", 50, || chat(OPENAI, 0)),
        requests("request, virtual key", Stores::Keys, 50, unlimited, || chat(OPENAI, 0)),
        requests("request, virtual key, all limits", Stores::Keys, 20, limited, || chat(OPENAI, 0)),
        master("request, 8 KB prompt", 20, || chat(OPENAI, 8_000)),
        master("request, 200 KB prompt", 10, || chat(OPENAI, 200_000)),
        master("request, 64 tools", 20, || with_tools(chat(OPENAI, 0), 64)),
        master("request, to Anthropic", 50, || chat(ANTHROPIC, 0)),
        master("request, to Anthropic, 64 tools", 20, || with_tools(chat(ANTHROPIC, 0), 64)),
        scenario("request, in Anthropic's format", Stores::None, Work::Requests(50, native)),
        scenario("stream, each piece", Stores::None, Work::Stream(500, OPENAI)),
        scenario("stream, from Anthropic, each piece", Stores::None, Work::Stream(500, ANTHROPIC)),
    ]
}

fn messages() -> Value {
    let mut body = chat(ANTHROPIC, 0);
    body["max_tokens"] = json!(100);
    body
}

impl Scenario {
    /// Counts it: its lines of the record.
    pub(crate) async fn count(
        &self,
        stage: &Stage,
        valgrind: &Valgrind,
        bootstrap: &Path,
    ) -> Vec<(String, u64)> {
        let mut environment = stage.environment(self.stores);
        if self.deployments > 0 {
            environment.push(("KEYTURN_CONFIG", stage.deployments(self.deployments)));
        }
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let start = || valgrind.start(bootstrap, &environment);
        let (less, more, times) = match &self.work {
            Work::Init => {
                let (instructions, Calls { files, connections, threads }) = start().await.end().await;
                let calls =
                    [("files opened", files), ("connections", connections), ("threads started", threads)];
                let calls = calls.map(|(what, count)| (format!("{}: {what}", self.name), count));
                return std::iter::once((self.name.to_owned(), instructions)).chain(calls).collect();
            }
            Work::Requests(times, ask) => {
                let event = ask.event(stage).await;
                let (less, more) = (start().await, start().await);
                answered(&less.function, &event, *times).await;
                answered(&more.function, &event, 2 * times).await;
                (less, more, *times)
            }
            Work::Stream(pieces, model) => {
                let (less, more) = (start().await, start().await);
                streamed(stage, &less.function, model, *pieces).await;
                streamed(stage, &more.function, model, 2 * pieces).await;
                stage.upstream.say(COMPLETION);
                (less, more, *pieces)
            }
        };
        let ((less, _), (more, _)) = (less.end().await, more.end().await);
        vec![(self.name.to_owned(), more.saturating_sub(less) / u64::from(times))]
    }
}

impl Ask {
    async fn event(&self, stage: &Stage) -> Value {
        let key = match self.key {
            Key::Master => MASTER_KEY.to_owned(),
            Key::Virtual(new) => stage.virtual_key(new()).await,
        };
        event(self.path, &key, &(self.body)())
    }
}

async fn answered(function: &Environment, event: &Value, times: u32) {
    for _ in 0..times {
        let answer = function.call(event).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A stream of this many words, each sent when the one before it has arrived: several at once would be less work.
async fn streamed(stage: &Stage, function: &Environment, model: &str, words: u32) {
    let words = usize::try_from(words).expect("a number of words");
    stage.upstream.say("word ".repeat(words).trim_end());
    let gate = Gate::default();
    stage.upstream.script(Behaviour::Paced(gate.clone()));
    let mut body = chat(model, 0);
    body["stream"] = json!(true);
    // Anthropic begins with events that the client gets no piece of.
    gate.release(if model == ANTHROPIC { 3 } else { 1 });
    let answer = function.invoke(&event(CHAT, MASTER_KEY, &body)).await;
    let mut answer = answer.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(answer.status, 200);
    let mut pieces = 0;
    while let Some(piece) = answer.chunk().await.unwrap_or_else(|error| panic!("{error}")) {
        pieces += usize::from(!piece.bytes.is_empty());
        gate.release(1);
        if pieces > words {
            gate.open();
        }
    }
    assert!(pieces >= words, "{pieces} pieces of {words} words: several came at once");
}
