//! Whatever comes in, nothing panics, and nothing half-read passes for whole.

use bytes::Bytes;
use keyturn_providers::inspect::inspect;
use keyturn_providers::splice::splice;
use keyturn_providers::{Provider, Surface};
use serde_json::Value;

use crate::support::{Request, chunks, head, key, provider, read, vectors};

const SURFACES: [Surface; 2] = [Surface::ChatCompletions, Surface::Messages];

/// Streams of both formats: the vectors' own and one of OpenAI's.
fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let mut streams: Vec<(&'static str, Vec<u8>)> = vectors()
        .iter()
        .filter(|(_, vector)| vector["direction"] == "stream")
        .map(|(_, vector)| ("anthropic", chunks(vector).concat()))
        .collect();
    assert!(streams.len() >= 5);
    let openai = "data: {\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\r\n\r\n: c\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n";
    streams.push(("openai", openai.as_bytes().to_vec()));
    streams
}

fn requests(name: &str) -> Vec<Request> {
    let mut requests = vec![Request::streaming(true), Request::streaming(false)];
    if name == "anthropic" {
        requests.push(Request::messages());
    }
    requests
}

/// Every output is whole events of readable JSON.
fn check_output(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).unwrap();
    for line in text.split(['\n', '\r']) {
        if let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") {
            serde_json::from_str::<Value>(data).unwrap();
        }
    }
}

#[test]
fn streams_cut_at_every_byte() {
    for (name, stream) in streams() {
        let terminal = if name == "openai" { "[DONE]" } else { "\"message_stop\"}" };
        for request in requests(name) {
            for cut in 0..stream.len() {
                let mut decoder = provider(name).decoder(&request.call(), &head(200, &[]));
                let got = read(&mut *decoder, &[Bytes::copy_from_slice(&stream[..cut])]);
                check_output(&got.bytes);
                let ended = String::from_utf8_lossy(&stream[..cut]).contains(terminal);
                assert_eq!(got.failure.is_none(), ended, "{name} cut at {cut}");
            }
        }
    }
}

#[test]
fn streams_with_any_byte_changed() {
    for (name, stream) in streams() {
        for request in requests(name) {
            for at in 0..stream.len() {
                let mut bytes = stream.clone();
                bytes[at] = [0, b'\n', b'"', b'{', 0xff][at % 5];
                let mut decoder = provider(name).decoder(&request.call(), &head(200, &[]));
                let _ = read(&mut *decoder, &[bytes.into()]);
            }
        }
    }
}

/// Words of both formats, thrown together.
fn noise(random: &mut fastrand::Rng) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "data: ",
        "event: ",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        ":",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        "[DONE]",
        "null",
        "1e999",
        "-1",
        "{\"type\":\"message_start\"",
        "\"message\":{",
        "\"usage\":{",
        "{\"type\":\"content_block_start\",",
        "\"index\":0,",
        "\"content_block\":{\"type\":\"tool_use\"}}",
        "\"delta\":{\"type\":\"text_delta\",\"text\":",
        "{\"choices\":[]",
        "\"error\":{\"message\":\"m\"}",
        "\"\\ud800\"",
        "\u{2028}",
        "😀",
        "\u{feff}",
        "{\"type\":\"message_stop\"}",
        "{\"type\":\"error\"}",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(..40) {
        if random.u8(..) < 40 {
            bytes.push(random.u8(..));
        } else {
            bytes.extend_from_slice(WORDS[random.usize(..WORDS.len())].as_bytes());
        }
    }
    bytes
}

fn split(random: &mut fastrand::Rng, bytes: &[u8]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(1..=rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = after;
    }
    chunks
}

#[test]
fn random_streams() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5000 {
        let bytes = noise(&mut random);
        for name in ["openai", "anthropic"] {
            for request in requests(name) {
                let chunks = split(&mut random, &bytes);
                let mut decoder = provider(name).decoder(&request.call(), &head(200, &[]));
                let got = read(&mut *decoder, &chunks);
                let mut decoder = provider(name).decoder(&request.call(), &head(200, &[]));
                let whole = read(&mut *decoder, &[Bytes::from(bytes.clone())]);
                assert_eq!(got.bytes, whole.bytes, "{:?}", String::from_utf8_lossy(&bytes));
                assert_eq!(got.failure.is_some(), whole.failure.is_some());
            }
        }
    }
}

fn feed_body(provider: &dyn Provider, request: &Request, body: &[u8]) {
    let call = request.call();
    let _ = provider.response(&call, &head(200, &[]), Bytes::copy_from_slice(body));
    for status in [200, 400, 401, 429, 500, 529] {
        let failure = provider.failure(&call, &head(status, &[]), body);
        assert!(failure.status.as_u16() >= 400);
        serde_json::from_slice::<Value>(&failure.body).unwrap();
    }
}

#[test]
fn bodies_cut_at_every_byte_and_random_ones() {
    let bodies: Vec<String> = vectors()
        .iter()
        .filter(|(_, vector)| vector["direction"] == "response" || vector["direction"] == "error")
        .map(|(_, vector)| vector["input"]["body"].to_string())
        .collect();
    assert!(bodies.len() >= 4);
    let mut random = fastrand::Rng::with_seed(8);
    for name in ["openai", "anthropic"] {
        for request in requests(name) {
            for body in &bodies {
                for cut in 0..=body.len() {
                    feed_body(provider(name), &request, &body.as_bytes()[..cut]);
                }
            }
            for _ in 0..2000 {
                feed_body(provider(name), &request, &noise(&mut random));
            }
        }
    }
}

/// A client's body, whole or broken, as far as the upstream request.
fn feed_request(body: &Bytes) -> bool {
    let mut readable = false;
    for surface in SURFACES {
        let Ok(facts) = inspect(surface, body) else { continue };
        readable = true;
        let spliced = splice(body, &facts, "new \"model\"");
        serde_json::from_slice::<serde::de::IgnoredAny>(&spliced).unwrap();
        let again = inspect(surface, &spliced).unwrap();
        assert_eq!((again.model.as_str(), again.stream), ("new \"model\"", facts.stream));
        let mut request = Request::messages();
        (request.surface, request.facts, request.body) = (surface, facts, body.clone());
        for drop_params in [false, true] {
            request.target.drop_params = drop_params;
            if let Ok(sent) = provider("anthropic").request(&request.call(), &key("k")) {
                serde_json::from_slice::<serde::de::IgnoredAny>(sent.body()).unwrap();
            }
        }
    }
    readable
}

#[test]
fn requests_cut_at_every_byte_or_with_any_byte_changed() {
    let mut random = fastrand::Rng::with_seed(9);
    for (file, vector) in vectors() {
        if vector["direction"] != "request" {
            continue;
        }
        let input = &vector["input"];
        let body = input["body_raw"].as_str().map_or_else(|| input["body"].to_string(), str::to_owned);
        assert!(feed_request(&Bytes::from(body.clone())), "{file}");
        for cut in 0..body.len() {
            assert!(!feed_request(&Bytes::copy_from_slice(&body.as_bytes()[..cut])), "{file} cut at {cut}");
        }
        for at in 0..body.len() {
            let mut bytes = body.clone().into_bytes();
            bytes[at] = *random.choice(&[0, b'"', b'{', b'}', b'[', b',', b'1', b'\\', b'n', 0xff]).unwrap();
            feed_request(&bytes.into());
        }
    }
}

#[test]
fn a_large_prompt_is_read_in_one_go() {
    let text = "words \\n and \\\"quotes\\\" ".repeat(100_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"m","stream":true}}"#);
    assert!(feed_request(&Bytes::from(body)));
}

#[test]
fn many_small_things_are_linear() {
    let list = |item: &str| vec![item; 20_000].join(",");
    for body in [
        format!(
            r#"{{"model":"m","messages":[{}]}}"#,
            list(r#"{"role":"tool","tool_call_id":"a.b"},{"role":"user","content":"x"}"#)
        ),
        format!(r#"{{"model":"m","messages":[],{}}}"#, list(r#""model":"a""#)),
        format!(r#"{{"model":"m","stream":true,"messages":[],{}}}"#, list(r#""stream_options":{}"#)),
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{}]}}]}}"#,
            list(r#"{"type":"text","text":"x"}"#)
        ),
        format!(r#"{{"model":"m","messages":[],"tools":[{}]}}"#, list(r#"{"function":{"name":"a b"}}"#)),
        format!(r#"{{"model":"m","messages":[],"stop":[{}]}}"#, list(r#""s""#)),
    ] {
        assert!(feed_request(&Bytes::from(body)));
    }
}
