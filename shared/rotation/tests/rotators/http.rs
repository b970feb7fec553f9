//! `http` against a service that nobody has written a rotator for, with ids and values that need escaping.

mod service;

use std::sync::{Arc, Mutex, MutexGuard};

use keyturn_rotation::{Credential, RotationError, Rotator};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::rig::{
    ADMIN, Asking, By, Fake, Fault, PREFIX, Reply, Rig, credential, faults, tells_nothing, time, value,
};
use crate::rounds::{FIELD, rounds};
use service::{Service, answer};

const CURRENT: &str = "canary-current\"\\ & +=0000";

struct World {
    rig: Rig,
    fake: Fake,
    service: Arc<Mutex<Service>>,
}

impl World {
    async fn new() -> Self {
        let service = Arc::new(Mutex::new(Service { room: 10, ..Service::default() }));
        let state = Arc::clone(&service);
        let fake = Fake::start(move |arrived| answer(&mut state.lock().unwrap(), arrived)).await;
        service.lock().unwrap().add("by hand", CURRENT);
        Self { rig: Rig::new(&[("WRONG", "admin-wrong-canary")]), fake, service }
    }

    fn service(&self) -> MutexGuard<'_, Service> {
        self.service.lock().unwrap()
    }

    fn settings(&self) -> Value {
        let url = self.fake.url();
        let headers = json!({"X-Admin": "key={admin}"});
        json!({
            "admin_key": "env:ADMIN",
            "expires_in": "2d",
            "create": {
                "method": "PUT", "url": format!("{url}/v1/keys"), "headers": headers, "expect": [201], "full": [409],
                "body": {"label": "{name}", "meta": {
                    "from": "{current}", "token": "{token}", "ttl": "{expires_in}", "end": "{expires_at}",
                    "brace": "{{}}", "n": 1,
                }},
                "answer": {"value": "/data/0/secret", "id": "/data/0/key/id"},
            },
            "verify": {
                "method": "POST", "url": format!("{url}/check"), "refused": [400],
                "form": {"grant": "key=value&more", "key": "{value}"},
            },
            "list": {
                "url": format!("{url}/v1/keys?starts={{prefix}}"), "headers": headers,
                "answer": {
                    "items": "/page/items", "id": "/id", "name": "/label", "hint": "/shown", "created": "/made",
                    "last_used": "/used", "disabled": "/state", "disabled_is": "off", "next": "/page/next",
                    "next_query": "cursor",
                },
            },
            "disable": {
                "url": format!("{url}/v1/keys/{{id}}"), "headers": headers, "body": {"key": "{id}", "state": "off"},
            },
            "retire": {"url": format!("{url}/v1/keys/{{id}}"), "headers": headers},
        })
    }

    /// The settings with one changed, by a JSON pointer; null removes it.
    fn with(&self, pointer: &str, value: Value) -> Value {
        let mut settings = self.settings();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = settings.pointer_mut(parent).expect("a parent").as_object_mut().expect("an object");
        if value.is_null() {
            parent.remove(name)
        } else {
            parent.insert(name.to_owned(), value)
        };
        settings
    }

    fn rotator(&self, settings: Value) -> Box<dyn Rotator> {
        self.rig.rotator("http", settings)
    }
}

#[tokio::test]
async fn settings_are_checked() {
    let world = World::new().await;
    world.rig.hold_to_settings(
        "http",
        &world.settings(),
        &["create", "verify", "list", "retire", "admin_key", "expires_in"]
            .iter()
            .copied()
            .filter(|name| *name != "list" && *name != "retire")
            .collect::<Vec<_>>(),
    );
    let wrong = |pointer: &str, value: Value| world.rig.wrong("http", world.with(pointer, value));
    for (pointer, value, expected) in [
        ("/create/url", json!(null), "keyturn:create.url is required"),
        ("/create/answer", json!(null), "keyturn:create.answer is required"),
        ("/create/answer/value", json!(null), "keyturn:create.answer.value is required"),
        ("/create/nonesuch", json!("sk-1"), "keyturn:create.nonesuch is no setting of this rotator"),
        ("/verify/answer", json!("/x"), "keyturn:verify.answer is not of the right kind"),
        ("/create/expect", json!("sk-1"), "keyturn:create.expect is not of the right kind"),
        (
            "/create/answer/value",
            json!("data"),
            "keyturn:create.answer.value is not a JSON pointer, such as /data/key",
        ),
        (
            "/list/answer/next",
            json!("next"),
            "keyturn:list.answer.next is not a JSON pointer, such as /data/key",
        ),
        (
            "/create/url",
            json!("https://{name}.example.com/"),
            "keyturn:create.url is not an address with a fixed host",
        ),
        (
            "/create/url",
            json!("https://api.example.com{name}"),
            "keyturn:create.url is not an address with a fixed host",
        ),
        (
            "/create/url",
            json!("https://u:p@example.com/"),
            "keyturn:create.url is not an address with a fixed host",
        ),
        (
            "/create/url",
            json!("file:///etc/passwd"),
            "keyturn:create.url is not an address with a fixed host",
        ),
        ("/create/method", json!("A B"), "keyturn:create.method is not an HTTP method"),
        (
            "/create/headers",
            json!({"a b": "x"}),
            "keyturn:create.headers has a name that headers cannot have",
        ),
        ("/create/form", json!({"a": "b"}), "keyturn:create.form and a body exclude each other"),
        (
            "/verify/url",
            json!("https://x/{id}"),
            "keyturn:verify.url has a place in braces that this call has no value for",
        ),
        (
            "/retire/body",
            json!({"a": ["{value}"]}),
            "keyturn:retire.body.a.0 has a place in braces that this call has no value for",
        ),
        ("/list", json!(null), "keyturn:list is required where there is a call that takes credentials back"),
        ("/retire", json!(null), "keyturn:retire is required where there is keyturn:list"),
        (
            "/list/answer/hint",
            json!(null),
            "keyturn:list.answer.hint or keyturn:keep_id is required: credentials must be recognised",
        ),
        (
            "/list/answer/disabled",
            json!(null),
            "keyturn:list.answer.disabled is required where there is keyturn:disable",
        ),
        (
            "/list/answer/next",
            json!(null),
            "keyturn:list.answer.next and list.answer.next_query belong together",
        ),
        (
            "/expires_in",
            json!("1h"),
            "keyturn:expires_in is too short: a credential must outlast the next rotation, at least 1d",
        ),
    ] {
        assert_eq!(wrong(pointer, value), expected, "{pointer}");
    }
    assert!(
        wrong("/create/headers", json!({"a": "{admn}"}))
            .starts_with("keyturn:create.headers.a has an unknown place")
    );
    assert_eq!(
        wrong("/create/headers", json!({"a": "{admin"})),
        "keyturn:create.headers.a has a brace without its pair"
    );
    assert!(
        wrong("/list/answer/name", json!(null)).starts_with("keyturn:list.answer.name is required, unless")
    );
    let mut settings = world.with("/create/answer/id", json!(null));
    settings["keep_id"] = json!(true);
    assert_eq!(world.rig.wrong("http", settings), "keyturn:keep_id needs create.answer.id");
}

#[tokio::test]
async fn a_key_lives_and_goes() {
    let world = World::new().await;
    let rotator = world.rotator(world.settings());
    let asking = Asking::of(&world.rig, CURRENT);
    let made = rotator.create(&asking.ask()).await.unwrap().credential;
    let asked = json!({"label": asking.ask().name, "meta": {
        "from": CURRENT, "token": asking.token, "ttl": 172_800, "end": "2026-03-06T05:06:07Z", "brace": "{}", "n": 1,
    }});
    assert_eq!(world.service().asked, asked);
    rotator.test(&made).await.unwrap();
    rotator.test(&asking.current).await.unwrap();

    for number in 0..3 {
        world.service().add("somebody's", &format!("canary-other-{number:04}"));
    }
    world.service().add(&format!("{PREFIX}x"), "canary-lost-0000");
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    let [one, lost] = issued.as_slice() else { panic!("{issued:?}") };
    assert!(rotator.may_be(one, &made));
    assert!(!rotator.may_be(lost, &made) && !rotator.may_be(one, &asking.current));
    assert_eq!(one.created_at, Some(time("2026-03-04T05:06:07.5Z")));
    assert_eq!(one.last_used_at, Some(time("2026-03-05T00:00:00Z")));
    assert!(!one.disabled);

    assert!(rotator.disable(one).await.unwrap());
    assert!(rotator.issued(PREFIX, &asking.current).await.unwrap()[0].disabled);
    let refused = rotator.test(&made).await.unwrap_err();
    assert_eq!(refused.to_string(), "the service refuses the credential (HTTP 400 KeyInvalid)");
    tells_nothing(&refused, &["canary"]);
    rotator.delete(one).await.unwrap();
    rotator.delete(one).await.unwrap();
    assert!(rotator.disable(one).await.unwrap());
    let left = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, lost.id);
}

#[tokio::test]
async fn a_key_may_be_kept_with_its_id() {
    let world = World::new().await;
    let mut settings = world.with("/list/answer/hint", json!(null));
    settings["keep_id"] = json!(true);
    let rotator = world.rotator(settings.clone());
    assert_eq!(rotator.parts().len(), 2);
    let asking = Asking::of(&world.rig, CURRENT);
    let made = rotator.create(&asking.ask()).await.unwrap().credential;
    assert_eq!(made.part("id").unwrap().expose_secret(), world.service().keys[1].id);
    let other = rotator.create(&asking.ask()).await.unwrap().credential;
    let issued = rotator.issued(PREFIX, &made).await.unwrap();
    assert!(rotator.may_be(&issued[0], &made) && !rotator.may_be(&issued[0], &other));
    assert!(rotator.may_be(&issued[0], &asking.current), "one without an id may be any");

    // Ids of another kind in the list would make strangers of all keys.
    settings["list"]["answer"]["id"] = json!("/label");
    let unfit = world.rotator(settings).issued(PREFIX, &made).await.unwrap_err();
    assert!(unfit.to_string().starts_with("the current credential's id is not in the list"), "{unfit}");
    let gone = Credential::of(value(&made).into()).with("id", "k/0".into());
    assert!(matches!(rotator.issued(PREFIX, &gone).await, Err(RotationError::Unfit(_))));
}

#[tokio::test]
async fn a_dedicated_account_has_no_strangers() {
    let world = World::new().await;
    let mut settings = world.with("/list/answer/name", json!(null));
    settings["dedicated"] = json!(true);
    let issued = world.rotator(settings).issued(PREFIX, &credential(CURRENT)).await.unwrap();
    assert_eq!(issued.len(), 1);
}

#[tokio::test]
async fn without_a_list_nothing_is_taken_back() {
    let world = World::new().await;
    let mut settings = world.settings();
    for name in ["list", "disable", "retire"] {
        settings.as_object_mut().unwrap().remove(name);
    }
    let rotator = world.rotator(settings);
    assert!(rotator.issued(PREFIX, &credential(CURRENT)).await.unwrap().is_empty());
    let one = keyturn_rotation::Issued { id: "1".to_owned(), ..Default::default() };
    assert!(!rotator.disable(&one).await.unwrap());
    rotator.delete(&one).await.unwrap();
    assert_eq!(world.fake.take_log().len(), 0);
}

#[tokio::test]
async fn a_key_whose_answer_was_lost_is_found() {
    let world = World::new().await;
    let rotator = world.rotator(world.settings());
    let asking = Asking::of(&world.rig, CURRENT);
    world.fake.fail(0, Fault::Lost);
    rotator.create(&asking.ask()).await.unwrap_err();
    let stored = rotator.create(&asking.ask()).await.unwrap().credential;
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(issued.len(), 2);
    assert_eq!(issued.iter().filter(|issued| rotator.may_be(issued, &stored)).count(), 1);
}

#[tokio::test]
async fn an_answer_that_leads_nowhere_or_elsewhere_is_refused() {
    let world = World::new().await;
    let rotator = world.rotator(world.settings());
    let asking = Asking::of(&world.rig, CURRENT);
    world.service().room = 1;
    let full = rotator.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(&full, RotationError::Full(told) if told == "HTTP 409 TooMany"), "{full:?}");

    let page =
        |items: Value| Fault::Reply(Reply::json(200, &json!({"page": {"items": items, "next": "same"}})));
    world.fake.always(Some(page(json!([]))));
    let endless = rotator.issued(PREFIX, &asking.current).await.unwrap_err();
    assert_eq!(endless.to_string(), "the service's answer is not understood: a list without an end");
    world.fake.always(Some(page(json!([{"id": "1", "label": PREFIX, "made": "soon"}]))));
    let odd = rotator.issued(PREFIX, &asking.current).await.unwrap_err();
    assert!(odd.to_string().contains("a time of an unknown form"), "{odd}");
    world.fake.always(Some(page(json!([{"label": PREFIX}]))));
    assert!(matches!(rotator.issued(PREFIX, &asking.current).await, Err(RotationError::Malformed(_))));
    world.fake.always(None);
    world.fake.take_log();
    for id in ["", ".", ".."] {
        let one = keyturn_rotation::Issued { id: id.to_owned(), ..Default::default() };
        assert!(matches!(rotator.delete(&one).await, Err(RotationError::Malformed(_))), "{id:?}");
    }
    assert_eq!(world.fake.take_log().len(), 0);
}

#[tokio::test]
async fn faults_are_told_and_tell_nothing() {
    let world = World::new().await;
    let rotator = world.rotator(world.settings());
    let asking = Asking::of(&world.rig, CURRENT);
    let secrets = [ADMIN, "canary"];
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.create(&asking.ask()).await).await;
    faults(&world.fake, By::Admin, true, &secrets, async || rotator.issued(PREFIX, &asking.current).await)
        .await;
    let one = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert!(one.is_empty(), "nothing was made");
    let one = keyturn_rotation::Issued { id: world.service().keys[0].id.clone(), ..Default::default() };
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.disable(&one).await).await;
    faults(&world.fake, By::Admin, false, &secrets, async || rotator.delete(&one).await).await;
    // Here 400 means that the key is wrong.
    let plain = world.rotator(world.with("/verify/refused", json!(null)));
    faults(&world.fake, By::Tested, false, &secrets, async || plain.test(&asking.current).await).await;
    let denied =
        world.rotator(world.with("/admin_key", json!("env:WRONG"))).create(&asking.ask()).await.unwrap_err();
    assert!(matches!(denied, RotationError::Denied(_)), "{denied:?}");
}

#[tokio::test]
async fn rotations_leave_what_the_secret_holds() {
    for keep_id in [false, true] {
        let world = World::new().await;
        let mut settings = world.settings();
        settings["rotator"] = json!("http");
        if keep_id {
            settings["keep_id"] = json!(true);
            settings["id_field"] = json!("KEY_ID");
        }
        let first = world.service().keys[0].id.clone();
        let mut secret = json!({FIELD: CURRENT, "keyturn:rotator": {FIELD: settings}});
        if keep_id {
            secret["KEY_ID"] = json!(first);
        }
        let works = || {
            let service = world.service();
            service.keys.iter().filter(|key| key.state == "on").map(|key| key.value.clone()).collect()
        };
        rounds(&world.rig, &world.fake, &secret, works, |value| value == CURRENT).await;
        assert_eq!(world.service().keys.len(), 2, "what was disabled is deleted");
    }
}
