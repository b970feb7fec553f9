//! What is wrong before anything is asked of the manager, and what goes wrong behind it.

use bytes::Bytes;
use http::Request;
use serde_json::json;

use crate::rig::{MASTER, Rig, logged};

#[tokio::test]
async fn routes_and_methods() {
    let rig = Rig::start().await;
    rig.get_as(MASTER, "/key/nonsense").await.refused(404, "not_found_error", None);
    let wrong = rig.get_as(MASTER, "/key/generate").await;
    wrong.refused(405, "bad_request_error", None);
    assert_eq!(wrong.headers["allow"], "POST");
    let wrong = rig.call("DELETE", "/key/info", MASTER, "").await;
    assert_eq!(wrong.headers["allow"], "GET");
    let document = Request::get("/openapi.json").body(Bytes::new()).unwrap();
    assert_eq!(rig.send(document).await.ok()["openapi"], json!("3.1.0"));
}

#[tokio::test]
async fn bodies() {
    let rig = Rig::start().await;
    for (body, param) in [
        (&b"{"[..], "request_body"),
        (b"[1]", "request_body"),
        (b"{\"key_alias\":\"\xff\"}", "request_body"),
        (b"{\"models\":[],\"models\":[]}", "models"),
        (b"{\"max_budget\":1e400}", "request_body"),
        (b"{\"max_budget\":-1}", "max_budget"),
        (b"{\"rpm_limit\":9007199254740992}", "rpm_limit"),
        (b"{\"duration\":\"1y\"}", "duration"),
        (b"{\"key\":\"sk-short\"}", "key"),
        (b"{\"key_alias\":\"a\\u0000b\"}", "key_alias"),
        (b"{\"key_alias\":\"../b\"}", "key_alias"),
        (b"{\"key_alias\":\"\"}", "key_alias"),
        (b"{\"auto_rotate\":true}", "rotation_interval"),
        (b"{\"model_max_budget\":{\"m\":{\"budget_limit\":1}}}", "time_period"),
    ] {
        let refused = rig.call("POST", "/key/generate", MASTER, body).await;
        assert_eq!(refused.status.as_u16(), 400, "{}", String::from_utf8_lossy(body));
        assert_eq!(refused.body["error"]["param"], json!(param), "{}", refused.body);
    }
    let long = format!("{{\"key_alias\":\"{}\"}}", "a".repeat(1024 * 1024));
    rig.call("POST", "/key/generate", MASTER, long).await.refused(
        413,
        "bad_request_error",
        Some("request_body"),
    );
    let form = Request::post("/key/generate")
        .header("authorization", format!("Bearer {MASTER}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from_static(b"key_alias=a"));
    rig.send(form.unwrap()).await.refused(415, "bad_request_error", Some("content-type"));
    let empty = rig.call("POST", "/key/generate", MASTER, "").await;
    assert!(empty.ok()["key"].is_string());
}

#[tokio::test]
async fn no_refusal_shows_what_was_sent() {
    let rig = Rig::start().await;
    let canary = "sk-canary-0123456789";
    for (path, body) in [
        ("/key/update", json!({"key": canary})),
        ("/key/generate", json!({"max_budget": canary})),
        ("/key/generate", json!({"key_type": canary})),
        ("/key/generate", json!({canary: 1})),
        ("/key/regenerate", json!({"key": canary, "grace_period": canary})),
        ("/key/block", json!({"key": canary})),
        ("/team/update", json!({"team_id": canary})),
    ] {
        let refused = rig.post_as(MASTER, path, &body).await;
        assert!(refused.status.is_client_error());
        assert!(!refused.body.to_string().contains(canary), "{path}: {}", refused.body);
    }
    for path in [
        format!("/key/info?key={canary}"),
        format!("/key/list?{canary}=1"),
        format!("/key/list?size={canary}"),
        format!("/key/{canary}/nonsense"),
    ] {
        let refused = rig.get_as(MASTER, &path).await;
        assert!(!refused.body.to_string().contains(canary), "{path}: {}", refused.body);
    }
    let refused = rig.post_as(MASTER, &format!("/key/{canary}/regenerate"), &json!({})).await;
    refused.refused(404, "not_found_error", Some("key"));
    assert!(!logged(canary));
}

#[tokio::test]
async fn an_outage_of_the_store_is_a_503_and_never_a_401() {
    let rig = Rig::start().await;
    let key = rig.key(&json!({"key_type": "management"})).await;
    rig.stop().await;
    for key in [MASTER, &key, "sk-nobody-has-this-one"] {
        rig.get_as(key, "/key/list").await.refused(503, "service_unavailable", None);
    }
    assert!(logged("key_store_unavailable"));
}
