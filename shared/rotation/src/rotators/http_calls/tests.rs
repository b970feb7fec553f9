use secrecy::SecretString;

use super::*;

fn answer(status: u16, body: &str, by: By) -> Answer {
    let sent = vec![SecretString::from("sk-secret-0123456789abcdef")];
    Answer::made_up(StatusCode::from_u16(status).unwrap(), body.as_bytes(), sent, by)
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
    let read = |body| answer(200, body, By::Admin).success::<Body>().unwrap_err().to_string();
    let told = read(r#"{"data": [1, "sk-secret-0123456789abcdef"]}"#);
    assert_eq!(told, "the service's answer is not understood: HTTP 200, data.1 is not as documented");
    assert!(read("sk-secret").ends_with("HTTP 200, its body is not as documented"), "{}", read("sk-secret"));
}

#[test]
fn a_call_without_an_answer_means_what_the_next_move_is() {
    let of = |error: CallError| RotationError::from(error);
    assert!(matches!(of(CallError::NoAnswer("no connection")), RotationError::Unavailable(_)));
    assert!(matches!(of(CallError::Unfit("a header is wrong")), RotationError::Unfit(_)));
    assert!(matches!(of(CallError::Malformed("too long".to_owned())), RotationError::Malformed(_)));
}
