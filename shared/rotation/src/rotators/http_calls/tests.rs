use super::*;

fn answer(status: u16, body: &str, by: By) -> Answer {
    let sent = vec![SecretString::from("sk-secret-0123456789abcdef")];
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, body: Zeroizing::new(body.as_bytes().to_vec()), by, sent }
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
        assert_eq!(answer(401, body, By::Admin).told(), told, "{body}");
    }
}

#[test]
fn nothing_of_a_secret_is_told_as_a_name() {
    let long = "x".repeat(LONGEST_CODE + 1);
    for name in [
        "sk-secret-0123456789abcdef",
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
        assert_eq!(answer(500, &body, By::Admin).told(), "HTTP 500", "{name}");
    }
}

#[test]
fn a_status_means_what_the_next_move_is() {
    let error = |status, by| answer(status, "", by).error();
    for status in [401, 403] {
        assert!(matches!(error(status, By::Admin), RotationError::Denied(_)), "{status}");
        assert!(matches!(error(status, By::Tested), RotationError::Refused(_)), "{status}");
    }
    for by in [By::Admin, By::Tested] {
        for status in [408, 425, 429, 500, 502, 503, 504, 529] {
            assert!(matches!(error(status, by), RotationError::Unavailable(_)), "{status}");
        }
        for status in [400, 402, 404, 409, 410, 422] {
            assert!(matches!(error(status, by), RotationError::Unfit(_)), "{status}");
        }
        for status in [301, 302, 304, 307] {
            assert!(matches!(error(status, by), RotationError::Malformed(_)), "{status}");
        }
    }
}

#[test]
fn what_is_not_as_documented_is_told_by_its_place() {
    #[derive(Debug, serde::Deserialize)]
    struct Body {
        #[serde(rename = "data")]
        _data: Vec<u64>,
    }
    let read = |body| answer(200, body, By::Admin).read::<Body>().unwrap_err().to_string();
    let told = read(r#"{"data": [1, "sk-secret-0123456789abcdef"]}"#);
    assert_eq!(told, "the service's answer is not understood: HTTP 200, data.1 is not as documented");
    assert!(read("sk-secret").ends_with("HTTP 200, its body is not as documented"), "{}", read("sk-secret"));
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
    let base = address("https://api.example.com/v1/").unwrap();
    let service = Service { http: keyturn_http::client().unwrap(), base, headers: HeaderMap::new() };
    let url = |path: &[&str]| service.get(By::Admin, path).url.to_string();
    assert_eq!(url(&["keys", "a/b?c#d é"]), "https://api.example.com/v1/keys/a%2Fb%3Fc%23d%20%C3%A9");
    assert_eq!(url(&["keys", "%2e%2e"]), "https://api.example.com/v1/keys/%252e%252e");
    assert_eq!(url(&["keys", "k:disable"]), "https://api.example.com/v1/keys/k:disable");
    for dots in ["", ".", ".."] {
        assert!(service.get(By::Admin, &["keys", dots]).wrong.is_some(), "{dots:?}");
    }
}
