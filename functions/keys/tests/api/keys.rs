//! One key's life.

use serde_json::json;

use crate::rig::{Rig, logged};

#[tokio::test]
async fn a_key_is_made_shown_and_its_value_is_nowhere_else() {
    let rig = Rig::start().await;
    let fields = json!({
        "key_alias": "prod/web", "duration": "30d", "models": ["gpt-4o", "claude-*"], "aliases": {"fast": "gpt-4o"},
        "metadata": {"owner": "web"}, "tags": ["web"], "max_budget": 20.5, "soft_budget": 10, "budget_duration": "1mo",
        "model_max_budget": {"gpt-4o": {"budget_limit": 5, "time_period": "1d"}}, "rpm_limit": 60, "tpm_limit": 1000,
        "model_rpm_limit": {"gpt-4o": 3}, "model_tpm_limit": {"gpt-4o": 30}, "max_parallel_requests": 4,
        "permissions": {"a": true}, "allowed_routes": ["/v1/*"], "key_type": "llm_api", "spend": 1.25,
        "send_invite_email": null, "guardrails": [],
    });
    let made = rig.post("/key/generate", &fields).await;
    let value = made["key"].as_str().unwrap();
    assert!(value.starts_with("sk-") && value.len() == 25, "{made}");
    assert_eq!(made["key_name"], json!(format!("sk-...{}", &value[21..])));
    assert_eq!(made["token"], made["token_id"]);
    assert_eq!(made["expires"], json!("2026-12-20T12:00:00Z"));
    assert_eq!(made["created_by"], json!("default_user_id"));
    assert_eq!(made["budget_reset_at"], json!("2026-12-20T12:00:00Z"));
    for (field, sent) in fields.as_object().unwrap() {
        if !["duration", "send_invite_email", "guardrails", "model_max_budget", "soft_budget"]
            .contains(&field.as_str())
        {
            assert_eq!(made[field], *sent, "{field}");
        }
    }
    assert_eq!(made["model_max_budget"]["gpt-4o"]["time_period"], json!("1d"));

    let shown = rig.get(&format!("/key/info?key={value}")).await;
    assert_eq!((&shown["key"], &shown["info"]["key_alias"]), (&json!(value), &json!("prod/web")));
    let token = made["token"].as_str().unwrap();
    let shown = rig.get(&format!("/key/info?key={token}")).await;
    assert_eq!((&shown["key"], &shown["info"]["spend"]), (&json!(token), &json!(1.25)));
    assert!(!shown.to_string().contains(value));
    assert!(!logged(value));
    assert!(logged("\"route\":\"/key/info\""));
}

#[tokio::test]
async fn a_key_of_ones_own_is_taken_once() {
    let rig = Rig::start().await;
    let own = json!({"key": "sk-my-own-0123456789", "key_alias": "mine"});
    assert_eq!(rig.post("/key/generate", &own).await["key"], own["key"]);
    let again = rig.post_as(crate::rig::MASTER, "/key/generate", &json!({"key": own["key"]})).await;
    again.refused(400, "bad_request_error", Some("key"));
    assert!(!again.body.to_string().contains("sk-my-own"));
    let alias = rig.post_as(crate::rig::MASTER, "/key/generate", &json!({"key_alias": "mine"})).await;
    alias.refused(400, "bad_request_error", Some("key_alias"));
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let rig = Rig::start().await;
    let key = rig.key(&json!({"key_alias": "a", "max_budget": 5, "rpm_limit": 7})).await;
    let changed = rig.post("/key/update", &json!({"key": key, "max_budget": 9, "rpm_limit": null})).await;
    assert_eq!((&changed["key"], &changed["max_budget"]), (&json!(key), &json!(9.0)));
    assert_eq!((&changed["rpm_limit"], &changed["key_alias"]), (&json!(null), &json!("a")));
    let increase =
        json!({"key_alias": "a", "temp_budget_increase": 2, "temp_budget_expiry": "2026-11-21T00:00:00Z"});
    let changed = rig.post("/key/update", &increase).await;
    assert_eq!(changed["temp_budget_increase"], json!(2.0));
    let master = crate::rig::MASTER;
    let alone = json!({"key": rig.key(&json!({})).await, "temp_budget_increase": 2});
    rig.post_as(master, "/key/update", &alone).await.refused(
        400,
        "bad_request_error",
        Some("temp_budget_expiry"),
    );
    rig.post_as(master, "/key/update", &json!({})).await.refused(400, "bad_request_error", Some("key"));
    let unknown = json!({"key": "sk-nobody-has-this-one"});
    rig.post_as(master, "/key/update", &unknown).await.refused(404, "not_found_error", Some("key"));
}

#[tokio::test]
async fn many_keys_change_at_once_each_for_itself() {
    let rig = Rig::start().await;
    let key = rig.key(&json!({})).await;
    let bulk =
        json!({"keys": [{"key": key, "max_budget": 3}, {"key": "sk-nobody-has-this-one", "max_budget": 3}]});
    let done = rig.post("/key/bulk_update", &bulk).await;
    assert_eq!(done["total_requested"], json!(2));
    assert_eq!(done["successful_updates"][0]["key_info"]["max_budget"], json!(3.0));
    assert_eq!(done["failed_updates"][0]["failed_reason"], json!("key not found"));
    let wrong = json!({"keys": [{"key": key, "max_budgte": 3}]});
    let refused = rig.post_as(crate::rig::MASTER, "/key/bulk_update", &wrong).await;
    refused.refused(400, "bad_request_error", Some("max_budgte"));
}

#[tokio::test]
async fn a_blocked_key_opens_nothing_until_it_is_unblocked() {
    let rig = Rig::start().await;
    let key = rig.key(&json!({})).await;
    assert_eq!(rig.post("/key/block", &json!({"key": key})).await["blocked"], json!(true));
    rig.get_as(&key, "/key/info").await.refused(401, "auth_error", None);
    assert_eq!(rig.post("/key/unblock", &json!({"key": key})).await["blocked"], json!(false));
    rig.get_as(&key, "/key/info").await.ok();
}

#[tokio::test]
async fn deleted_keys_are_told_as_they_were_named() {
    let rig = Rig::start().await;
    let (one, _) = (rig.key(&json!({})).await, rig.key(&json!({"key_alias": "two"})).await);
    let gone = rig.post("/key/delete", &json!({"keys": [one, "sk-nobody-has-this-one", "nonsense"]})).await;
    assert_eq!(gone, json!({"deleted_keys": [one]}));
    let gone = rig.post("/key/delete", &json!({"key_aliases": ["two"]})).await;
    assert_eq!(gone, json!({"deleted_keys": ["two"]}));
    let master = crate::rig::MASTER;
    let again = rig.post_as(master, "/key/delete", &json!({"keys": [one]})).await;
    again.refused(404, "not_found_error", Some("key"));
    assert!(!again.body.to_string().contains(&one));
    rig.post_as(master, "/key/delete", &json!({"keys": []})).await.refused(
        400,
        "bad_request_error",
        Some("keys"),
    );
    rig.get_as(&one, "/key/info").await.refused(401, "token_not_found_in_db", Some("key"));
}

#[tokio::test]
async fn regeneration_keeps_the_old_value_for_the_grace_and_can_be_repeated() {
    let rig = Rig::start().await;
    let old = rig.key(&json!({"spend": 2})).await;
    let asked = json!({"key": old, "grace_period": "1h", "idempotency_key": "deploy-7", "max_budget": 8});
    let first = rig.post("/key/regenerate", &asked).await;
    let again = rig.post("/key/regenerate", &asked).await;
    assert_eq!(first["key"], again["key"]);
    assert_eq!((&first["spend"], &first["max_budget"]), (&json!(2.0), &json!(8.0)));
    let new = first["key"].as_str().unwrap();
    rig.get_as(&old, "/key/info").await.ok();
    rig.get_as(new, "/key/info").await.ok();
    rig.clock.advance(std::time::Duration::from_secs(3601));
    rig.get_as(&old, "/key/info").await.refused(401, "token_not_found_in_db", Some("key"));

    let token = first["token"].as_str().unwrap();
    let named =
        rig.post(&format!("/key/{token}/regenerate"), &json!({"new_key": "sk-brand-new-0123456"})).await;
    assert_eq!(named["key"], json!("sk-brand-new-0123456"));
    rig.get_as(new, "/key/info").await.refused(401, "token_not_found_in_db", Some("key"));
    let bad = rig
        .post_as(crate::rig::MASTER, "/key/regenerate", &json!({"key": token, "grace_period": "soon"}))
        .await;
    bad.refused(400, "bad_request_error", Some("grace_period"));
    rig.get_as("sk-brand-new-0123456", "/key/info").await.ok();
}

#[tokio::test]
async fn spend_can_be_set_back() {
    let rig = Rig::start().await;
    let made = rig.post("/key/generate", &json!({"spend": 5, "max_budget": 9})).await;
    let path = format!("/key/{}/reset_spend", made["token"].as_str().unwrap());
    let reset = rig.post(&path, &json!({"reset_to": 1.5})).await;
    assert_eq!(
        reset,
        json!({
            "key_hash": made["token"], "spend": 1.5, "previous_spend": 5.0, "max_budget": 9.0, "budget_reset_at": null,
        })
    );
    let more = rig.post_as(crate::rig::MASTER, &path, &json!({"reset_to": 2})).await;
    more.refused(400, "bad_request_error", Some("reset_to"));
}

#[tokio::test]
async fn a_service_account_needs_a_team() {
    let rig = Rig::start().await;
    rig.post("/team/new", &json!({"team_id": "t"})).await;
    let account =
        rig.post("/key/service-account/generate", &json!({"team_id": "t", "key_alias": "bot"})).await;
    assert_eq!(
        (&account["user_id"], &account["metadata"]["service_account_id"]),
        (&json!(null), &json!("bot"))
    );
    let none = rig.post_as(crate::rig::MASTER, "/key/service-account/generate", &json!({})).await;
    none.refused(400, "bad_request_error", Some("team_id"));
}
