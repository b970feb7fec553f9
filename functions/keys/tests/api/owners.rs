//! Teams, users and budgets.

use serde_json::json;

use crate::rig::{MASTER, Rig};

#[tokio::test]
async fn a_teams_life() {
    let rig = Rig::start().await;
    let team = rig
        .post(
            "/team/new",
            &json!({
                "team_id": "t", "team_alias": "Team", "models": ["gpt-4o"], "max_budget": 10,
                "members_with_roles": [{"role": "admin", "user_id": "boss"}], "organization_id": null,
            }),
        )
        .await;
    assert_eq!((&team["admins"], &team["members"]), (&json!(["boss"]), &json!([])));
    rig.post_as(MASTER, "/team/new", &json!({"team_id": "t"})).await.refused(
        400,
        "bad_request_error",
        Some("team_id"),
    );
    let key = rig.post("/key/generate", &json!({"team_id": "t"})).await;

    let updated =
        rig.post("/team/update", &json!({"team_id": "t", "max_budget": null, "rpm_limit": 5})).await;
    assert_eq!((&updated["data"]["max_budget"], &updated["data"]["rpm_limit"]), (&json!(null), &json!(5)));
    let member = json!({"role": "user", "user_id": "a"});
    let added = rig.post("/team/member_add", &json!({"team_id": "t", "member": member})).await;
    assert_eq!(added["members"], json!(["a"]));
    let twice = rig.post_as(MASTER, "/team/member_add", &json!({"team_id": "t", "member": member})).await;
    twice.refused(400, "team_member_already_in_team", Some("member"));
    let raised =
        rig.post("/team/member_update", &json!({"team_id": "t", "user_id": "a", "role": "admin"})).await;
    assert_eq!(raised["role"], json!("admin"));
    let left = rig.post("/team/member_delete", &json!({"team_id": "t", "user_id": "a"})).await;
    assert_eq!(left["admins"], json!(["boss"]));
    let added = rig.post("/team/model/add", &json!({"team_id": "t", "models": ["m"]})).await;
    assert_eq!(added["models"], json!(["gpt-4o", "m"]));
    let removed = rig.post("/team/model/delete", &json!({"team_id": "t", "models": ["m"]})).await;
    assert_eq!(removed["models"], json!(["gpt-4o"]));

    assert_eq!(rig.post("/team/block", &json!({"team_id": "t"})).await["blocked"], json!(true));
    assert_eq!(rig.post("/team/unblock", &json!({"team_id": "t"})).await["blocked"], json!(false));
    let info = rig.get("/team/info?team_id=t").await;
    assert_eq!(
        (&info["team_info"]["team_alias"], &info["keys"][0]["token"]),
        (&json!("Team"), &key["token"])
    );
    assert_eq!(rig.get("/team/list?user_id=boss").await[0]["team_id"], json!("t"));
    assert_eq!(rig.get("/team/list").await.as_array().unwrap().len(), 1);
    assert_eq!(rig.post("/team/delete", &json!({"team_ids": ["t"]})).await, json!({"deleted_teams": ["t"]}));
    rig.get_as(MASTER, "/team/info?team_id=t").await.refused(404, "not_found_error", Some("team"));
    assert_eq!(rig.get("/key/list").await["total_count"], json!(0));
}

#[tokio::test]
async fn a_users_life() {
    let rig = Rig::start().await;
    rig.post("/team/new", &json!({"team_id": "t"})).await;
    let user = rig
        .post("/user/new", &json!({
            "user_id": "u", "user_email": "u@example.com", "teams": ["t"], "max_budget": 3, "key_alias": "us",
        }))
        .await;
    assert_eq!(
        (&user["user_id"], &user["key_alias"], &user["teams"]),
        (&json!("u"), &json!("us"), &json!(["t"]))
    );
    assert!(user["key"].as_str().unwrap().starts_with("sk-"));
    let bare = rig.post("/user/new", &json!({"auto_create_key": false})).await;
    assert_eq!((&bare["key"], &bare["token"]), (&json!(null), &json!(null)));
    let twice = rig.post_as(MASTER, "/user/new", &json!({"user_id": "u"})).await;
    twice.refused(400, "bad_request_error", Some("user_id"));
    let none = rig.post_as(MASTER, "/user/new", &json!({"teams": ["nobody's"]})).await;
    none.refused(400, "bad_request_error", Some("teams"));
    let role = rig.post_as(MASTER, "/user/new", &json!({"user_role": "king"})).await;
    role.refused(400, "bad_request_error", Some("user_role"));

    let updated = rig.post("/user/update", &json!({"user_id": "u", "user_role": "proxy_admin"})).await;
    assert_eq!(updated["data"]["user_role"], json!("proxy_admin"));
    let info = rig.get("/user/info?user_id=u").await;
    assert_eq!((&info["keys"][0]["token"], &info["teams"][0]["team_id"]), (&user["token"], &json!("t")));
    let page = rig.get("/user/list?page_size=1").await;
    assert_eq!((&page["total"], &page["total_pages"]), (&json!(2), &json!(2)));
    assert_eq!(rig.post("/user/delete", &json!({"user_ids": ["u"]})).await, json!(1));
    rig.get_as(MASTER, "/user/info?user_id=u").await.refused(404, "not_found_error", Some("user"));
    rig.get_as(MASTER, "/user/info").await.refused(400, "bad_request_error", Some("user_id"));
}

#[tokio::test]
async fn a_budgets_life() {
    let rig = Rig::start().await;
    let budget =
        rig.post("/budget/new", &json!({"budget_id": "b", "max_budget": 10, "budget_duration": "1d"})).await;
    assert_eq!((&budget["max_budget"], &budget["budget_duration"]), (&json!(10.0), &json!("1d")));
    let key = rig.post("/key/generate", &json!({"budget_id": "b"})).await;
    assert_eq!(key["budget_reset_at"], json!("2026-11-21T12:00:00Z"));
    let none = rig.post_as(MASTER, "/key/generate", &json!({"budget_id": "none"})).await;
    none.refused(400, "bad_request_error", Some("budget_id"));
    let updated = rig.post("/budget/update", &json!({"budget_id": "b", "max_budget": null})).await;
    assert_eq!(updated["max_budget"], json!(null));
    rig.post_as(MASTER, "/budget/update", &json!({})).await.refused(
        400,
        "bad_request_error",
        Some("budget_id"),
    );
    assert_eq!(
        rig.post("/budget/info", &json!({"budgets": ["b", "none"]})).await.as_array().unwrap().len(),
        1
    );
    let empty = rig.post_as(MASTER, "/budget/info", &json!({"budgets": []})).await;
    empty.refused(400, "bad_request_error", Some("budgets"));
    assert_eq!(rig.get("/budget/list").await[0]["budget_id"], json!("b"));
    assert_eq!(rig.post("/budget/delete", &json!({"id": "b"})).await["budget_id"], json!("b"));
    rig.post_as(MASTER, "/budget/delete", &json!({"id": "b"})).await.refused(
        404,
        "not_found_error",
        Some("budget"),
    );
}
