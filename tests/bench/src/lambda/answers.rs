//! The upstream's answers: its ordinary ones, recorded once and then played back, so that it costs the measurement as
//! little as possible to give them.

use std::time::Duration;

use ::http::Method;
use bytes::Bytes;
use keyturn_tests::http::{Answer, Client};
use keyturn_tests::upstream::{Behaviour, COMPLETION, Piece};
use serde_json::json;

use crate::stage::{ANTHROPIC, OPENAI, Stage, UPSTREAM_KEY};

/// The upstream's names of the two models, as the stage's configuration has them. The limit passes the client's on.
const OPENAI_UPSTREAM: &str = "gpt-4o-mini";
const ANTHROPIC_UPSTREAM: &str = "claude-sonnet-4-5";

/// Pieces of a long stream.
pub(super) const PIECES: usize = 500;
/// The time between two pieces of a paced stream.
pub(super) const PACE: Duration = Duration::from_millis(2);

/// What was recorded.
pub(super) struct Answers {
    openai: Behaviour,
    anthropic: Behaviour,
    short: Vec<Bytes>,
    long: Vec<Bytes>,
}

impl Answers {
    pub(super) async fn record(stage: &Stage) -> Self {
        let client = Client::default();
        let chat = |stream: bool| {
            let mut body =
                json!({"model": OPENAI_UPSTREAM, "messages": [{"role": "user", "content": "Hello!"}]});
            if stream {
                body["stream"] = json!(true);
                body["stream_options"] = json!({"include_usage": true});
            }
            body
        };
        let url = format!("{}/chat/completions", stage.upstream.openai_base());
        let ask = async |stream| client.post_json(&url, Some(UPSTREAM_KEY), &chat(stream)).await;
        let openai = played_back(&ask(false).await);
        let short = pieces(&ask(true).await);
        // The first piece has the role, the last three the end.
        stage.upstream.say("word ".repeat(PIECES - 4).trim_end());
        let long = pieces(&ask(true).await);
        stage.upstream.say(COMPLETION);
        assert_eq!(long.len(), PIECES, "pieces of a stream");
        let messages = json!({
            "model": ANTHROPIC_UPSTREAM,
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "Hello!"}],
        });
        let headers = [("x-api-key", UPSTREAM_KEY), ("anthropic-version", "2023-06-01")];
        let url = format!("{}/v1/messages", stage.upstream.url());
        let anthropic = played_back(&client.send(Method::POST, &url, &headers, messages.to_string()).await);
        Self { openai, anthropic, short, long }
    }

    /// From now on answers are whole.
    pub(super) fn whole(&self, stage: &Stage) {
        give_all(stage, &self.openai, &self.anthropic);
    }

    /// From now on answers are whole, and come this late.
    pub(super) fn late(&self, stage: &Stage, latency: Duration) {
        let late = |answer: &Behaviour| Behaviour::Late(latency, Box::new(answer.clone()));
        give_all(stage, &late(&self.openai), &late(&self.anthropic));
    }

    /// From now on answers are short streams.
    pub(super) fn short_streams(&self, stage: &Stage) {
        give_streams(stage, self.short.iter().cloned().map(Piece::Bytes).collect());
    }

    /// From now on answers are streams of [`PIECES`] pieces, sent as fast as they go.
    pub(super) fn long_streams(&self, stage: &Stage) {
        give_streams(stage, self.long.iter().cloned().map(Piece::Bytes).collect());
    }

    /// From now on answers are streams of [`PIECES`] pieces with [`PACE`] before each.
    pub(super) fn paced_streams(&self, stage: &Stage) {
        let paced = self.long.iter().flat_map(|piece| [Piece::Pause(PACE), Piece::Bytes(piece.clone())]);
        give_streams(stage, paced.collect());
    }
}

fn give_all(stage: &Stage, openai: &Behaviour, anthropic: &Behaviour) {
    for model in [OPENAI, OPENAI_UPSTREAM, ANTHROPIC] {
        stage.upstream.when_model(model, openai.clone());
    }
    stage.upstream.when_model(ANTHROPIC_UPSTREAM, anthropic.clone());
}

fn give_streams(stage: &Stage, pieces: Vec<Piece>) {
    let stream = Behaviour::Stream("text/event-stream; charset=utf-8".to_owned(), pieces);
    for model in [OPENAI, OPENAI_UPSTREAM] {
        stage.upstream.when_model(model, stream.clone());
    }
}

fn played_back(answer: &Answer) -> Behaviour {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let headers =
        answer.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "content-length" | "date"));
    let headers =
        headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    Behaviour::Reply { status: answer.status, headers: headers.collect(), body: answer.body.clone() }
}

/// The events of a stream.
fn pieces(answer: &Answer) -> Vec<Bytes> {
    let text = answer.text();
    text.split_inclusive("\n\n").map(|event| Bytes::copy_from_slice(event.as_bytes())).collect()
}
