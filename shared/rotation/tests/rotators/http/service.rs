//! The service: ids that would be other addresses, values that JSON and forms must escape.

use serde_json::{Value, json};

use crate::rig::{ADMIN, Arrived, Reply};

pub(super) struct Key {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) value: String,
    pub(super) state: &'static str,
}

#[derive(Default)]
pub(super) struct Service {
    pub(super) keys: Vec<Key>,
    pub(super) made: u32,
    /// The body of the last creation.
    pub(super) asked: Value,
    pub(super) room: usize,
}

impl Service {
    pub(super) fn add(&mut self, name: &str, value: &str) -> &Key {
        self.made += 1;
        // An id that would be another address without encoding.
        let id = format!("k/{}?x=#é %2F", self.made);
        self.keys.push(Key { id, name: name.to_owned(), value: value.to_owned(), state: "on" });
        self.keys.last().expect("the key just added")
    }
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"code": code, "message": message}))
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8().expect("UTF-8").into_owned()
}

pub(super) fn answer(service: &mut Service, arrived: &Arrived) -> Reply {
    if arrived.what() == ("POST", "/check") {
        return check(service, arrived);
    }
    if arrived.header("x-admin") != format!("key={ADMIN}") {
        return error(401, "NoEntry", "who are you");
    }
    let path: Vec<&str> = arrived.path.trim_start_matches('/').split('/').collect();
    match (arrived.method.as_str(), path.as_slice()) {
        ("PUT", ["v1", "keys"]) => {
            let Ok(body) = arrived.object(&["label", "meta"]) else {
                return error(400, "BadBody", "bad body");
            };
            if service.keys.len() >= service.room {
                return error(409, "TooMany", "no more");
            }
            let name = body["label"].as_str().expect("a name").to_owned();
            service.asked = Value::Object(body);
            let value = format!("canary-made\"\\ & +={:04}", service.made + 1);
            let key = service.add(&name, &value);
            Reply::json(201, &json!({"data": [{"secret": key.value, "key": {"id": key.id}}]}))
        }
        ("GET", ["v1", "keys"]) => {
            assert!(arrived.query["starts"].starts_with("keyturn-"));
            let start: usize = arrived.query.get("cursor").map_or(0, |at| at.parse().expect("a number"));
            let items: Vec<Value> = service.keys[start..].iter().take(2).map(|key| {
                let (head, tail) = (&key.value[..8], &key.value[key.value.len() - 4..]);
                json!({
                    "id": key.id, "label": key.name, "shown": format!("{head}***{tail}"), "state": key.state,
                    "made": 1_772_600_767_500_i64, "used": "2026-03-05T00:00:00Z",
                })
            }).collect();
            let next = (start + 2 < service.keys.len()).then_some(start + 2);
            Reply::json(200, &json!({"page": {"items": items, "next": next}}))
        }
        ("PATCH", ["v1", "keys", id]) => {
            let Some(key) = service.keys.iter_mut().find(|key| key.id == decoded(id)) else {
                return error(404, "Gone", "no such key");
            };
            assert_eq!(
                serde_json::from_slice::<Value>(&arrived.body).unwrap(),
                json!({"key": key.id, "state": "off"})
            );
            key.state = "off";
            Reply::empty(204)
        }
        ("DELETE", ["v1", "keys", id]) => {
            let before = service.keys.len();
            service.keys.retain(|key| key.id != decoded(id));
            if service.keys.len() == before { error(410, "Gone", "no such key") } else { Reply::empty(204) }
        }
        _ => error(404, "NoRoute", "not found"),
    }
}

/// Takes the key in a form, and says that it is wrong with 400.
fn check(service: &Service, arrived: &Arrived) -> Reply {
    assert_eq!(arrived.header("content-type"), "application/x-www-form-urlencoded");
    let form = arrived.form();
    assert_eq!(form["grant"], "key=value&more");
    if service.keys.iter().any(|key| key.value == form["key"] && key.state == "on") {
        Reply { status: 200, body: b"fine".to_vec() }
    } else {
        error(400, "KeyInvalid", &format!("the key {} is wrong", form["key"]))
    }
}
