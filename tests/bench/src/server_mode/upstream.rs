//! An upstream that costs next to nothing: the same answer to every request, on a thread of its own. It parses heads
//! and looks for `"stream"` in the body; a request that a gateway should not have sent is refused.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The key it takes.
pub(super) const KEY: &str = "sk-bench-upstream-key";
/// What stands in every answer, and in every first chunk of a stream.
pub(super) const TEXT: &str = "Keyturn";
/// The chunks of a stream that have text.
pub(super) const CHUNKS: usize = 20;

/// More than the clients of all gateways send.
const MAX_HEADERS: usize = 64;
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// A running upstream. It lives as long as the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upstream {
    address: SocketAddr,
}

impl Upstream {
    /// Starts it on a port that the system chooses.
    pub(super) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("the port just bound");
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener));
        });
        Self { address }
    }

    /// For OpenAI's clients, with `/v1`.
    pub(super) fn base(self) -> String {
        format!("http://{}/v1", self.address)
    }
}

async fn serve(listener: std::net::TcpListener) {
    let listener = TcpListener::from_std(listener).expect("a socket for tokio");
    let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        // A connection that breaks is the gateway's affair: its client sees it.
        tokio::spawn(async move { connection(stream, answers).await.ok() });
    }
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    loop {
        let Some(request) = parse(&buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        match request {
            Parsed::Whole { length } => {
                stream.write_all(&answers.whole).await?;
                buffer.advance(length);
            }
            Parsed::Stream { length } => {
                for piece in &answers.stream {
                    stream.write_all(piece).await?;
                }
                buffer.advance(length);
            }
            Parsed::Refused(answer) => return stream.write_all(answer).await,
        }
    }
}

/// A request that has arrived with all of its body; `length` bytes of the buffer.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Whole { length: usize },
    Stream { length: usize },
    Refused(&'static [u8]),
}

/// The request at the head of the buffer; `None` when there is more to come.
fn parse(buffer: &[u8]) -> Option<Parsed> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(buffer) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return Some(Parsed::Refused(BAD_REQUEST)),
    };
    let header = |name: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    if request.path != Some("/v1/chat/completions") {
        return Some(Parsed::Refused(NOT_FOUND));
    }
    if header("authorization").and_then(|value| value.strip_prefix("Bearer ")) != Some(KEY) {
        return Some(Parsed::Refused(UNAUTHORIZED));
    }
    // Every gateway knows how long its body is; chunks are not understood here.
    let Some(body) = header("content-length").and_then(|length| length.parse::<usize>().ok()) else {
        return Some(Parsed::Refused(BAD_REQUEST));
    };
    let length = head + body;
    let body = buffer.get(head..length)?;
    // As JavaScript and serde write it, and as Python does.
    let stream = [&b"\"stream\":true"[..], b"\"stream\": true"];
    if stream.iter().any(|stream| memmem::find(body, stream).is_some()) {
        Some(Parsed::Stream { length })
    } else {
        Some(Parsed::Whole { length })
    }
}

/// The answers as they go over the wire.
struct Answers {
    whole: Vec<u8>,
    /// Each is written by itself, as a model's words come.
    stream: Vec<Vec<u8>>,
}

impl Answers {
    fn new() -> Self {
        let whole = format!(
            r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"{TEXT} passes this on to you."}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}}}"#
        );
        let event = |choices: &str, more: &str| {
            let event = format!(
                "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-mini\",\"choices\":[{choices}]{more}}}\n\n"
            );
            chunk(&event)
        };
        let text =
            event(&format!(r#"{{"index":0,"delta":{{"content":"{TEXT} "}},"finish_reason":null}}"#), "");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut stream = vec![text; CHUNKS];
        stream[0].splice(0..0, head.bytes());
        stream.push(event(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, ""));
        stream.push(event("", r#","usage":{"prompt_tokens":19,"completion_tokens":20,"total_tokens":39}"#));
        let mut last = chunk("data: [DONE]\n\n");
        last.extend_from_slice(b"0\r\n\r\n");
        stream.push(last);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            whole.len()
        );
        Self { whole: [head.as_bytes(), whole.as_bytes()].concat(), stream }
    }
}

/// A chunk of the chunked transfer coding.
fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, body: &str) -> String {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_request_is_told_from_a_stream_and_from_half_of_one() {
        let whole = request(KEY, r#"{"model":"m","messages":[]}"#);
        assert_eq!(parse(whole.as_bytes()), Some(Parsed::Whole { length: whole.len() }));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..length]), None, "{length} bytes");
        }
        for body in [r#"{"stream":true}"#, r#"{"model": "m", "stream": true}"#] {
            let stream = request(KEY, body);
            assert_eq!(parse(stream.as_bytes()), Some(Parsed::Stream { length: stream.len() }), "{body}");
        }
    }

    #[test]
    fn what_no_gateway_should_send_is_refused() {
        assert_eq!(parse(request("sk-other", "{}").as_bytes()), Some(Parsed::Refused(UNAUTHORIZED)));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Some(Parsed::Refused(NOT_FOUND)));
        assert_eq!(parse(b"\x16\x03\x01"), Some(Parsed::Refused(BAD_REQUEST)));
    }
}
