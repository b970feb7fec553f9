//! Calls as the gateway makes them, and streams read in different steps.

use std::path::Path;

use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use keyturn_providers::inspect::{Facts, inspect};
use keyturn_providers::{Call, Credential, Decoder, Failure, Provider, Surface, Target, find};
use secrecy::SecretString;
use serde_json::Value;

/// What a [`Call`] borrows.
pub(crate) struct Request {
    pub(crate) surface: Surface,
    pub(crate) facts: Facts,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) target: Target,
    pub(crate) now: i64,
}

impl Request {
    pub(crate) fn new(surface: Surface, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let facts = inspect(surface, &body).expect("the test's body is readable");
        let target = Target { model: "upstream-model".to_owned(), ..Target::default() };
        Self { surface, facts, body, headers: HeaderMap::new(), target, now: 1_763_640_000 }
    }

    pub(crate) fn chat(body: &str) -> Self {
        Self::new(Surface::ChatCompletions, body.to_owned())
    }

    /// A chat completion that streams.
    pub(crate) fn streaming(include_usage: bool) -> Self {
        let options = if include_usage { r#","stream_options":{"include_usage":true}"# } else { "" };
        Self::chat(&format!(r#"{{"model":"m","messages":[],"stream":true{options}}}"#))
    }

    /// A message that streams.
    pub(crate) fn messages() -> Self {
        Self::new(Surface::Messages, r#"{"model":"m","messages":[],"max_tokens":9,"stream":true}"#)
    }

    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            surface: self.surface,
            facts: &self.facts,
            body: &self.body,
            headers: &self.headers,
            target: &self.target,
            now: self.now,
        }
    }
}

pub(crate) fn provider(name: &str) -> &'static dyn Provider {
    find(name).expect("a known provider")
}

pub(crate) fn key(value: &str) -> Credential {
    Credential::new().with("api_key", SecretString::from(value))
}

/// An upstream's response head.
pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Parts {
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap().into_parts().0
}

/// What came out of a decoder.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: Vec<u8>,
    pub(crate) failure: Option<Failure>,
}

impl Read {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// The `data` payloads; a failure's body comes last, as the gateway sends it.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = self.data().iter().map(|data| payload(data)).collect();
        events.extend(self.failure.as_ref().map(|failure| serde_json::from_slice(&failure.body).unwrap()));
        events
    }

    pub(crate) fn data(&self) -> Vec<&str> {
        self.text().split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
    }
}

fn payload(data: &str) -> Value {
    if data == "[DONE]" { Value::from(data) } else { serde_json::from_str(data).unwrap() }
}

/// Feeds `chunks` to a decoder and closes the stream.
pub(crate) fn read(decoder: &mut dyn Decoder, chunks: &[Bytes]) -> Read {
    let mut out = Vec::new();
    let mut failure = None;
    for chunk in chunks {
        if failure.is_none() {
            failure = decoder.push(chunk.clone(), &mut out).err();
        }
    }
    if failure.is_none() {
        failure = decoder.finish(&mut out).err();
    }
    assert!(out.iter().all(|part| !part.is_empty()), "empty output");
    Read { bytes: out.concat(), failure }
}

/// The chunks as they are, one byte at a time, and all in one.
pub(crate) fn steps(chunks: &[Bytes]) -> [Vec<Bytes>; 3] {
    let whole = Bytes::from(chunks.concat());
    let bytes = (0..whole.len()).map(|at| whole.slice(at..=at)).collect();
    [chunks.to_vec(), bytes, vec![whole]]
}

/// Every vector: its file name and its content.
pub(crate) fn vectors() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut vectors: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let vector = serde_json::from_str(&std::fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, vector)
        })
        .collect();
    vectors.sort_by(|a, b| a.0.cmp(&b.0));
    vectors
}

/// A stream vector's transport reads.
pub(crate) fn chunks(vector: &Value) -> Vec<Bytes> {
    use base64::Engine as _;
    let chunks = vector["input"]["chunks"].as_array().unwrap();
    chunks
        .iter()
        .map(|chunk| match chunk {
            Value::String(text) => Bytes::from(text.clone()),
            other => {
                let encoded = other["b64"].as_str().unwrap();
                Bytes::from(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap())
            }
        })
        .collect()
}
