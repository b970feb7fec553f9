//! Reports.

use keyturn_keys::KeyHash;
use keyturn_keys::store::{Usage, UsageLine};
use secrecy::SecretString;
use serde_json::json;

use crate::rig::{MASTER, Rig};

async fn used() -> (Rig, String) {
    let rig = Rig::start().await;
    let made = rig.post("/key/generate", &json!({"team_id": "t", "user_id": "u", "spend": 3})).await;
    rig.key(&json!({"spend": 4})).await;
    let value = SecretString::from(made["key"].as_str().unwrap());
    for (day, key, cost) in [
        ("2026-11-19", Some(KeyHash::of(&value)), 1_500_000_000),
        ("2026-11-20", Some(KeyHash::of(&value)), 500_000_000),
        ("2026-11-20", None, 250_000_000),
    ] {
        let line = UsageLine {
            day: day.parse().unwrap(),
            key,
            team_id: key.map(|_| "t".to_owned()),
            user_id: key.map(|_| "u".to_owned()),
            model: "gpt-4o".to_owned(),
            tags: vec!["web".to_owned()],
            usage: Usage { requests: 2, prompt_tokens: 10, completion_tokens: 5, cost },
        };
        rig.store.log_usage(&line, 0).await.unwrap();
    }
    (rig, made["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn spend_is_told_by_key_day_and_tag() {
    let (rig, token) = used().await;
    let keys = rig.get("/spend/keys?limit=1").await;
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["spend"]), (1, &json!(4.0)));
    let days = rig.get("/spend/logs").await;
    assert_eq!(days[0]["startTime"], json!("2026-11-19"));
    assert_eq!((&days[1]["spend"], &days[1]["users"]), (&json!(0.75), &json!({"": 0.25, "u": 0.5})));
    assert_eq!((&days[1]["models"], &days[1][&token]), (&json!({"gpt-4o": 0.75}), &json!(0.5)));
    assert_eq!(days[1]["master_key"], json!(0.25));
    let one =
        rig.get(&format!("/spend/logs?api_key={token}&start_date=2026-11-20&end_date=2026-11-20")).await;
    assert_eq!((one.as_array().unwrap().len(), &one[0]["spend"]), (1, &json!(0.5)));
    let tags = rig.get("/spend/tags").await;
    assert_eq!(tags, json!([{"individual_request_tag": "web", "log_count": 6, "total_spend": 2.25}]));
}

#[tokio::test]
async fn the_report_has_litellms_groups() {
    let (rig, token) = used().await;
    let teams = rig.get("/global/spend/report").await;
    assert_eq!(teams[0]["group_by_day"], json!("2026-11-19"));
    let part = json!({"model": "gpt-4o", "spend": 1.5, "total_tokens": 15, "api_key": token});
    assert_eq!(teams[0]["teams"], json!([{"team_name": "t", "total_spend": 1.5, "metadata": [part]}]));
    let customers = rig.get("/global/spend/report?group_by=customer&internal_user_id=u").await;
    assert_eq!(customers[1]["customers"][0]["customer"], json!("u"));
    let models = rig.get("/global/spend/report?group_by=model").await;
    assert_eq!(models[1]["models"][0]["total_spend"], json!(0.75));
    let keys = rig.get("/global/spend/report?group_by=api_key&team_id=t").await;
    assert_eq!((&keys[0]["api_key"], &keys[0]["total_cost"]), (&json!(token), &json!(2.0)));
    assert_eq!(keys[0]["model_details"][0]["total_input_tokens"], json!(20));
}

#[tokio::test]
async fn reports_that_make_no_sense_are_refused() {
    let (rig, _) = used().await;
    for (path, param) in [
        ("/spend/keys?limit=0", "limit"),
        ("/spend/logs?start_date=yesterday", "start_date"),
        ("/spend/logs?start_date=2026-11-20&end_date=2026-11-19", "end_date"),
        ("/spend/tags?start_date=2020-01-01", "end_date"),
        ("/spend/logs?request_id=x", "request_id"),
        ("/global/spend/report?group_by=colour", "group_by"),
    ] {
        let refused = rig.get_as(MASTER, path).await;
        refused.refused(400, "bad_request_error", Some(param));
    }
    let none = rig.get_as(MASTER, "/spend/logs?api_key=nonsense").await;
    none.refused(404, "not_found_error", Some("key"));
}
