//! Pages.

use serde_json::{Value, json};

use crate::rig::{MASTER, Rig};

async fn filled() -> Rig {
    let rig = Rig::start().await;
    for number in 0..5 {
        let user = if number < 2 { "u1" } else { "u2" };
        let key = json!({"key_alias": format!("web-{number}"), "user_id": user});
        rig.post("/key/generate", &key).await;
        rig.clock.advance(std::time::Duration::from_secs(1));
    }
    rig
}

fn aliases(page: &Value) -> Vec<&str> {
    page["keys"].as_array().unwrap().iter().map(|key| key["key_alias"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn keys_come_in_pages_the_youngest_first() {
    let rig = filled().await;
    let page = rig.get("/key/list?size=2&return_full_object=true").await;
    assert_eq!(aliases(&page), ["web-4", "web-3"]);
    assert_eq!(
        (&page["total_count"], &page["current_page"], &page["total_pages"]),
        (&json!(5), &json!(1), &json!(3))
    );
    let next = page["next"].as_str().unwrap();
    let from = rig.get(&format!("/key/list?size=2&return_full_object=true&from={next}")).await;
    assert_eq!(aliases(&from), ["web-2", "web-1"]);
    let last = rig.get("/key/list?size=2&page=3&return_full_object=true").await;
    assert_eq!((aliases(&last), &last["next"]), (vec!["web-0"], &json!(null)));
    let hashes = rig.get("/key/list").await;
    assert_eq!(hashes["keys"][0].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let rig = filled().await;
    for (query, expected) in [
        ("user_id=u1", vec!["web-1", "web-0"]),
        ("user_id=u1&sort_order=asc", vec!["web-0", "web-1"]),
        ("key_alias=web-3", vec!["web-3"]),
        ("search=web-&size=2", vec!["web-0", "web-1"]),
        ("user_id=nobody", vec![]),
        ("status=deleted", vec![]),
        // Clients write what they do not use.
        ("key_alias=web-3&organization_id=&include_team_keys=False", vec!["web-3"]),
    ] {
        let page = rig.get(&format!("/key/list?return_full_object=True&{query}")).await;
        assert_eq!(aliases(&page), expected, "{query}");
    }
    let listed = rig.get("/key/aliases?search=web-&size=2").await;
    assert_eq!(
        listed,
        json!({"aliases": ["web-0", "web-1"], "total_count": 5, "current_page": 1, "total_pages": 3, "size": 2})
    );
}

#[tokio::test]
async fn what_no_list_can_do_is_refused_by_name() {
    let rig = filled().await;
    for (query, param) in [
        ("page=0", "page"),
        ("size=0", "size"),
        ("size=101", "size"),
        ("size=x", "size"),
        ("sort_by=spend", "sort_by"),
        ("sort_by=key_alias", "sort_by"),
        ("sort_order=up", "sort_order"),
        ("status=blocked", "status"),
        ("key_hash=abc", "key_hash"),
        ("page=1&page=2", "page"),
        ("pgae=1", "pgae"),
        ("page=1000000001", "page"),
        ("status=", "status"),
        ("return_full_object=2", "return_full_object"),
        ("include_team_keys=true", "include_team_keys"),
        ("user_id=%ff", "query"),
        ("from=nonsense", "from"),
    ] {
        let refused = rig.get_as(MASTER, &format!("/key/list?{query}")).await;
        assert_eq!(refused.body["error"]["param"], json!(param), "{query}: {}", refused.body);
        assert_eq!(refused.status.as_u16(), 400, "{query}");
    }
}

#[tokio::test]
async fn many_keys_are_shown_at_once() {
    let rig = Rig::start().await;
    let (one, two) = (rig.key(&json!({})).await, rig.key(&json!({})).await);
    let asked = json!({"keys": [one, "sk-nobody-has-this-one", two]});
    let shown = rig.post("/v2/key/info", &asked).await;
    assert_eq!(shown["key"], json!([one, two]));
    assert_eq!(shown["info"].as_array().unwrap().len(), 2);
}
