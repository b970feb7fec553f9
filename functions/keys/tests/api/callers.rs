//! Who may call what.

use serde_json::json;

use crate::rig::{MASTER, Rig};

/// A user's key.
async fn key_of(rig: &Rig, role: &str) -> String {
    let user = rig.post("/user/new", &json!({"user_id": role, "user_role": role})).await;
    user["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_kind_of_key_may_do_what_it_is_for() {
    let rig = Rig::start().await;
    let other = rig.key(&json!({"user_id": "somebody"})).await;
    let other = format!("/key/info?key={other}");
    // Its own key, others' keys, all keys, making one.
    for (who, key, expected) in [
        ("master", MASTER.to_owned(), [400, 200, 200, 200]),
        ("management", rig.key(&json!({"key_type": "management"})).await, [200, 200, 200, 200]),
        ("read_only", rig.key(&json!({"key_type": "read_only"})).await, [200, 200, 200, 403]),
        ("llm_api", rig.key(&json!({"key_type": "llm_api"})).await, [200, 403, 403, 403]),
        ("default", rig.key(&json!({})).await, [200, 403, 403, 403]),
        ("proxy_admin", key_of(&rig, "proxy_admin").await, [200, 200, 200, 200]),
        ("proxy_admin_viewer", key_of(&rig, "proxy_admin_viewer").await, [200, 200, 200, 403]),
        ("internal_user", key_of(&rig, "internal_user").await, [200, 403, 200, 200]),
        ("internal_user_viewer", key_of(&rig, "internal_user_viewer").await, [200, 403, 200, 403]),
        (
            "an admin's llm_api key",
            rig.key(&json!({"key_type": "llm_api", "user_id": "proxy_admin"})).await,
            [200, 403, 403, 403],
        ),
        (
            "a management key for some routes",
            rig.key(&json!({"key_type": "management", "allowed_routes": ["/key/list"]})).await,
            [200, 403, 200, 403],
        ),
    ] {
        let found = [
            rig.get_as(&key, "/key/info").await,
            rig.get_as(&key, &other).await,
            rig.get_as(&key, "/key/list").await,
            rig.post_as(&key, "/key/generate", &json!({})).await,
        ];
        assert_eq!(found.map(|answer| answer.status.as_u16()), expected, "{who}");
        assert_eq!(rig.post_as(&key, "/key/health", &json!({})).await.ok()["key"], json!("healthy"));
    }
}

#[tokio::test]
async fn a_user_manages_its_own_keys_and_no_others() {
    let rig = Rig::start().await;
    let own = key_of(&rig, "internal_user").await;
    let other = rig.key(&json!({"user_id": "somebody"})).await;
    let made = rig.post_as(&own, "/key/generate", &json!({"max_budget": 1})).await.ok();
    assert_eq!((&made["user_id"], &made["created_by"]), (&json!("internal_user"), &json!("internal_user")));
    let listed = rig.get_as(&own, "/key/list").await.ok();
    assert_eq!(listed["total_count"], json!(2));
    for (path, body, param) in [
        ("/key/generate", json!({"user_id": "somebody"}), "user_id"),
        ("/key/generate", json!({"key_type": "management"}), "key_type"),
        ("/key/generate", json!({"allowed_routes": ["/key/*"]}), "allowed_routes"),
        ("/key/update", json!({"key": other, "max_budget": 9}), "key"),
        ("/key/delete", json!({"keys": [other]}), "key"),
        ("/key/block", json!({"key": other}), "key"),
        ("/key/regenerate", json!({"key": other}), "key"),
        ("/team/new", json!({}), "team"),
        ("/user/new", json!({}), "user"),
        ("/user/update", json!({"user_id": "internal_user", "user_role": "proxy_admin"}), "user"),
        ("/budget/new", json!({}), "budget"),
    ] {
        rig.post_as(&own, path, &body).await.refused(403, "auth_error", Some(param));
    }
    let seen = rig.post_as(&own, "/v2/key/info", &json!({"keys": [own, other]})).await.ok();
    assert_eq!(seen["key"], json!([own]));
    assert_eq!(rig.get_as(&own, "/user/info").await.ok()["user_id"], json!("internal_user"));
    rig.get_as(&own, "/user/info?user_id=somebody").await.refused(403, "auth_error", Some("user"));
    rig.get_as(&own, "/spend/logs").await.ok();
}

#[tokio::test]
async fn an_admin_of_a_team_manages_the_team() {
    let rig = Rig::start().await;
    let own = key_of(&rig, "internal_user").await;
    let admin = json!([{"role": "admin", "user_id": "internal_user"}]);
    rig.post("/team/new", &json!({"team_id": "t", "members_with_roles": admin})).await;
    rig.post("/team/new", &json!({"team_id": "other"})).await;
    let member = |team: &str| json!({"team_id": team, "member": {"role": "user", "user_id": "new"}});
    rig.post_as(&own, "/team/member_add", &member("t")).await.ok();
    rig.post_as(&own, "/team/member_add", &member("other")).await.refused(403, "auth_error", Some("team"));
    assert_eq!(rig.get_as(&own, "/team/list").await.ok().as_array().unwrap().len(), 1);
    let key = rig.key(&json!({"team_id": "t"})).await;
    rig.post_as(&own, "/key/update", &json!({"key": key, "max_budget": 3})).await.ok();
    // A key that is mightier than its team's admin is not the admin's business.
    for mighty in
        [json!({"team_id": "t", "key_type": "management"}), json!({"team_id": "t", "user_id": "boss"})]
    {
        rig.post_as(MASTER, "/user/new", &json!({"user_id": "boss", "user_role": "proxy_admin"})).await;
        let mighty = rig.key(&mighty).await;
        let taken = rig.post_as(&own, "/key/regenerate", &json!({"key": mighty})).await;
        taken.refused(403, "auth_error", Some("key"));
    }
}

#[tokio::test]
async fn a_key_that_does_not_work_is_a_401() {
    let rig = Rig::start().await;
    let none = http::Request::get("/key/list").body(bytes::Bytes::new()).unwrap();
    rig.send(none).await.refused(401, "auth_error", None);
    rig.get_as("", "/key/list").await.refused(401, "auth_error", None);
    rig.get_as("not-a-key-at-all", "/key/list").await.refused(401, "auth_error", None);
    let unknown = rig.get_as("sk-nobody-has-this-one", "/key/list").await;
    unknown.refused(401, "token_not_found_in_db", Some("key"));
    assert!(!unknown.body.to_string().contains("sk-nobody"));
    let short = rig.key(&json!({"duration": "1s", "key_type": "management"})).await;
    rig.clock.advance(std::time::Duration::from_secs(1));
    rig.get_as(&short, "/key/list").await.refused(401, "expired_key", Some("key"));
    rig.post("/team/new", &json!({"team_id": "t"})).await;
    let key = rig.key(&json!({"team_id": "t"})).await;
    rig.post("/team/block", &json!({"team_id": "t"})).await;
    rig.get_as(&key, "/key/info").await.refused(401, "auth_error", None);
}
