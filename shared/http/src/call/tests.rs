use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;

const SECRET: &str = "sk-secret-0123456789abcdef";

fn answer(status: u16, body: &str) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer::made_up(status, body.as_bytes(), vec![SecretString::from(SECRET)], ())
}

fn service(base: &str) -> Service {
    Service::at(&crate::client().unwrap(), base).unwrap()
}

#[test]
fn an_error_is_told_by_its_status_and_name() {
    for (body, told) in [
        (r#"{"error": {"code": "invalid_api_key", "type": "x"}}"#, "HTTP 401 invalid_api_key"),
        (r#"{"error": {"code": null, "type": "auth_error"}}"#, "HTTP 401 auth_error"),
        (r#"{"error": {"code": 401, "status": "UNAUTHENTICATED"}}"#, "HTTP 401 UNAUTHENTICATED"),
        (r#"{"error": {"code": "401", "type": "auth_error"}}"#, "HTTP 401 auth_error"),
        (r#"{"error": "invalid_client", "error_description": "x"}"#, "HTTP 401 invalid_client"),
        (r#"{"__type": "AccessDeniedException"}"#, "HTTP 401 AccessDeniedException"),
        (r#"{"error": {"message": "no name"}}"#, "HTTP 401"),
        ("<html>", "HTTP 401"),
        ("", "HTTP 401"),
    ] {
        assert_eq!(answer(401, body).told(), told, "{body}");
    }
}

#[test]
fn nothing_of_a_secret_is_told_as_a_name() {
    let long = "x".repeat(LONGEST_CODE + 1);
    for name in [
        SECRET,
        "bad.sk-secret-0123456789abcdef",
        "secret-0123456789",
        "sk-secr...cdef",
        "cdef",
        "two words",
        "a/b",
        "key=x",
        &long,
    ] {
        let body = serde_json::json!({"error": {"code": name, "type": name}, "code": name}).to_string();
        assert_eq!(answer(500, &body).told(), "HTTP 500", "{name}");
    }
}

#[test]
fn a_name_that_is_known_is_found_whatever_was_sent() {
    let names = ["invalid_client", "invalid_grant"];
    let body = br#"{"error": "invalid_grant"}"#;
    let sent = vec![SecretString::from("MIIEvgIBADANgranBgkqhkiG9w0")];
    let answer = Answer::made_up(StatusCode::BAD_REQUEST, body, sent, ());
    assert_eq!((answer.code(), answer.code_among(&names)), (None, Some("invalid_grant")));
    assert_eq!(answer.code_among(&["invalid_client"]), None);
}

#[test]
fn what_is_not_as_documented_is_not_repeated() {
    let error = answer(200, &format!(r#"{{"key": "{SECRET}"}}"#)).read::<Vec<u64>>().unwrap_err();
    assert_eq!(error, CallError::Malformed("HTTP 200, its body is not as documented".to_owned()));
}

#[test]
fn an_address_is_a_plain_one() {
    for text in ["https://api.example.com", "http://127.0.0.1:4000/v1/"] {
        assert!(address(text).is_some(), "{text}");
    }
    for text in [
        "api.example.com",
        "ftp://x",
        "https://u@x",
        "https://:p@x",
        "https://x?a",
        "https://x#a",
        "file:///x",
        "",
    ] {
        assert!(address(text).is_none(), "{text}");
    }
}

#[test]
fn a_path_is_made_of_whole_segments() {
    let service = service("https://api.example.com/v1/");
    let url = |path: &[&str]| service.call(Method::GET, path).url.to_string();
    assert_eq!(url(&["keys", "a/b?c#d é"]), "https://api.example.com/v1/keys/a%2Fb%3Fc%23d%20%C3%A9");
    assert_eq!(url(&["keys", "%2e%2e"]), "https://api.example.com/v1/keys/%252e%252e");
    assert_eq!(url(&["keys", "k:disable"]), "https://api.example.com/v1/keys/k:disable");
    for dots in ["", ".", ".."] {
        assert!(service.call(Method::GET, &["keys", dots]).wrong.is_some(), "{dots:?}");
    }
}

#[test]
fn a_form_has_its_fields_encoded() {
    let service = service("https://api.example.com");
    let call = service.call(Method::POST, &[]).form(&[("grant_type", "a b"), ("key", "x&y=z+é"), ("e", "")]);
    let (method, url, headers, body) = call.parts();
    assert_eq!((method, url.as_str()), (&Method::POST, "https://api.example.com/"));
    assert_eq!(headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
    assert_eq!(std::str::from_utf8(body), Ok("grant_type=a+b&key=x%26y%3Dz%2B%C3%A9&e="));
}

#[tokio::test]
async fn a_call_that_cannot_be_made_says_why_and_repeats_nothing() {
    let service = service("https://api.example.com");
    let call = || service.call(Method::GET, &[]);
    let secret = SecretString::from("sk-secret\n");
    for (call, why) in [
        (call().bearer(&secret), "a credential has characters that a header cannot have"),
        (call().secret_header("x-api-key", &secret), "a credential has characters that a header cannot have"),
        (call().header("x\n", "y"), "a header has characters that headers cannot have"),
        (call().header("x", "y\n"), "a header has characters that headers cannot have"),
        (call().unfit("it is unsigned"), "it is unsigned"),
        (service.call(Method::GET, &[".."]), "an id in a path is empty or made of dots"),
    ] {
        assert_eq!(call.answer().await.err(), Some(CallError::Unfit(why)));
    }
}

/// A service that answers one call with these bytes and then breaks off. Its address, and what it was sent.
fn once(reply: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0_u8; 4096];
        let read = stream.read(&mut head).unwrap();
        // Who is called may hang up on an answer that is too long.
        let _ = stream.write_all(&reply);
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    (base, served)
}

#[tokio::test]
async fn an_answer_comes_with_its_status_headers_and_mark() {
    let reply = b"HTTP/1.1 418 x\r\nx-more: yes\r\ncontent-length: 2\r\n\r\n[]".to_vec();
    let (base, served) = once(reply);
    let service = service(&base).always("x-version", "1");
    let call = service.call(Method::GET, &["a"]).query("q", "b c").bearer(&SecretString::from(SECRET));
    let answer = call.marked("mine").answer().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.mark(), answer.bytes()), (418, &"mine", &b"[]"[..]));
    assert_eq!(answer.headers()["x-more"], "yes");
    let sent = served.join().unwrap().to_lowercase();
    assert!(sent.starts_with("get /a?q=b+c http/1.1\r\n"), "{sent}");
    assert!(sent.contains(&format!("authorization: bearer {SECRET}\r\n")) && sent.contains("x-version: 1"));
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let mut reply = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    reply.resize(reply.len() + LONGEST_ANSWER + 1, b'x');
    let (base, served) = once(reply);
    let error = service(&base).call(Method::GET, &[]).answer().await.err();
    assert_eq!(error, Some(CallError::Malformed(format!("more than {LONGEST_ANSWER} bytes"))));
    served.join().unwrap();
}

#[tokio::test]
async fn a_call_without_an_answer_says_what_happened_and_not_where() {
    let (base, served) = once(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec());
    let call = |base: &str| {
        let url = Url::parse(&format!("{base}/?key={SECRET}")).unwrap();
        async move { Call::new(&crate::client().unwrap(), Method::GET, url).answer().await.err() }
    };
    assert_eq!(call(&base).await, Some(CallError::NoAnswer("the connection broke")));
    served.join().unwrap();
    assert_eq!(call(&base).await, Some(CallError::NoAnswer("no connection")));
    // It takes the call, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = service(&format!("http://{}", silent.local_addr().unwrap()));
    let error = slow.call(Method::GET, &[]).within(Duration::from_millis(50)).answer().await.err();
    assert_eq!(error, Some(CallError::NoAnswer("no answer in time")));
}

#[test]
fn what_is_private_stays_here_or_is_encrypted() {
    for (address, private) in [
        ("https://example.com", true),
        ("http://127.0.0.1:8200", true),
        ("http://127.1.2.3", true),
        ("http://[::1]:80", true),
        ("http://localhost", true),
        ("http://example.com", false),
        ("http://localhost.example.com", false),
        ("http://10.0.0.1", false),
        ("ftp://127.0.0.1", false),
    ] {
        assert_eq!(is_private(&Url::parse(address).unwrap()), private, "{address}");
    }
}
