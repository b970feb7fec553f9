//! Another master key.

use std::time::Duration;

use serde_json::json;

use crate::rig::{MASTER, Rig, logged};

const SECOND: &str = "sk-second-master-key";
const THIRD: &str = "sk-third-master-key-";

#[tokio::test]
async fn two_master_keys_work_until_the_grace_is_over() {
    let rig = Rig::start().await;
    let asked = json!({"key": MASTER, "new_master_key": SECOND, "grace_period": "1h"});
    assert_eq!(rig.post("/key/regenerate", &asked).await["key"], json!(SECOND));
    for key in [MASTER, SECOND] {
        rig.post_as(key, "/key/generate", &json!({})).await.ok();
    }
    rig.clock.advance(Duration::from_secs(3_600));
    rig.get_as(MASTER, "/key/list").await.refused(401, "token_not_found_in_db", Some("key"));
    rig.get_as(SECOND, "/key/list").await.ok();

    // Without a grace the former one ends at once.
    let asked = json!({"key": SECOND, "new_master_key": THIRD});
    rig.post_as(SECOND, "/key/regenerate", &asked).await.ok();
    rig.get_as(SECOND, "/key/list").await.refused(401, "token_not_found_in_db", Some("key"));
    rig.post_as(THIRD, "/team/new", &json!({})).await.ok();
    for key in [MASTER, SECOND, THIRD] {
        assert!(!logged(key));
    }
}

#[tokio::test]
async fn only_master_keys_get_master_keys() {
    let rig = Rig::start().await;
    let key = rig.key(&json!({})).await;
    for (body, param) in [
        (json!({"key": key, "new_master_key": SECOND}), "key"),
        (json!({"key": "sk-nobody-has-this-one", "new_master_key": SECOND}), "key"),
        (json!({"key": MASTER, "new_master_key": "short"}), "new_master_key"),
        (json!({"key": MASTER, "new_master_key": SECOND, "max_budget": 1}), "new_master_key"),
        (json!({"key": MASTER, "new_master_key": SECOND, "grace_period": "soon"}), "grace_period"),
        (json!({"key": MASTER, "new_master_key": key}), "new_key"),
    ] {
        let refused = rig.post_as(MASTER, "/key/regenerate", &body).await;
        refused.refused(400, "bad_request_error", Some(param));
    }
    rig.get_as(MASTER, "/key/list").await.ok();
    rig.get_as(SECOND, "/key/list").await.refused(401, "token_not_found_in_db", Some("key"));
}
