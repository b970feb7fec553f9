//! `vault_approle_secret_id`, against OpenBao, with no more than the policy that the module's text asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use keyturn_rotation::{Issued, RotationError, Rotator};
use keyturn_tests::openbao::OpenBao;
use serde_json::{Value, json};

use crate::rig::{Asking, Fake, PREFIX, Reply, Rig, TOKEN, credential, tells_nothing, value};

const NAME: &str = "vault_approle_secret_id";
const CANARY: &str = "vault-token-canary-31f0";

/// A method with the role `machines` at a mount of its own, and rotators whose token has the policy.
async fn start(server: &OpenBao) -> (String, Rig) {
    let mount = server.fresh("rotated");
    server.write(&format!("sys/auth/{mount}"), &json!({"type": "approle"})).await;
    server.write(&format!("auth/{mount}/role/machines"), &json!({"secret_id_ttl": "90d"})).await;
    let text = include_str!("../../src/rotators/vault_approle_secret_id.rs");
    let policy = text.split("```hcl").nth(1).unwrap().split("```").next().unwrap().replace("//!", "");
    let policy = policy.replace("MOUNT", &mount).replace("ROLE", "machines");
    assert_eq!(policy.matches("capabilities").count(), 5);
    server.write(&format!("sys/policies/acl/{mount}"), &json!({"policy": policy})).await;
    let token =
        server.write("auth/token/create", &json!({"policies": [mount], "no_default_policy": true})).await;
    let token = token["auth"]["client_token"].as_str().unwrap().to_owned();
    (mount, Rig::new(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", &token)]))
}

fn settings(mount: &str) -> Value {
    json!({"mount": mount, "role": "machines"})
}

fn is_one(issued: &[Issued], rotator: &dyn Rotator, of: &keyturn_rotation::Credential) -> bool {
    issued.iter().filter(|issued| rotator.may_be(issued, of)).count() == 1
}

#[tokio::test]
async fn settings_must_fit() {
    let rig = Rig::new(&[("HCP_VAULT_TOKEN", CANARY)]);
    rig.hold_to_settings(NAME, &json!({"role": "r"}), &["role"]);
    for settings in [json!({"role": "a/b"}), json!({"role": ".."}), json!({"role": "r", "mount": "a//b"})] {
        assert_eq!(rig.wrong(NAME, settings), "keyturn:role and mount do not make the path of a role");
    }
    assert!(
        rig.wrong(NAME, json!({"role": "r", "expires_in": "1h"}))
            .starts_with("keyturn:expires_in is too short")
    );
    let told = Rig::new(&[]).wrong(NAME, json!({"role": "r"}));
    assert!(
        told.starts_with("keyturn:rotator needs a login to Vault: ") && told.contains("HCP_VAULT_TOKEN"),
        "{told}"
    );
}

#[tokio::test]
async fn a_secret_id_is_made_tried_and_destroyed() {
    let server = OpenBao::shared();
    let (mount, rig) = start(server).await;
    let rotator = rig.rotator(NAME, settings(&mount));
    // One that somebody else made is left alone.
    let by_hand = server.write(&format!("auth/{mount}/role/machines/secret-id"), &json!({})).await;
    let current = credential(by_hand["data"]["secret_id"].as_str().unwrap());
    rotator.test(&current).await.unwrap();
    assert!(rotator.issued(PREFIX, &current).await.unwrap().is_empty());

    let asking = Asking { current, ..Asking::of(&rig, "") };
    let one = rotator.create(&asking.ask()).await.unwrap().credential;
    // The same again, as after a crash: both are there, and each is recognised.
    let two = rotator.create(&asking.ask()).await.unwrap().credential;
    assert_ne!(value(&one), value(&two));
    let issued = rotator.issued(PREFIX, &asking.current).await.unwrap();
    assert_eq!(issued.len(), 2);
    assert!(is_one(&issued, &*rotator, &one) && is_one(&issued, &*rotator, &two));
    assert!(!issued.iter().any(|issued| rotator.may_be(issued, &asking.current)));
    assert!(issued.iter().all(|issued| issued.created_at.is_some() && !issued.disabled));
    assert!(rotator.issued("keyturn-another-", &asking.current).await.unwrap().is_empty());
    // It is a login.
    let role_id = server.read(&format!("auth/{mount}/role/machines/role-id")).await;
    let login = json!({"role_id": role_id["data"]["role_id"], "secret_id": value(&one)});
    server.write(&format!("auth/{mount}/login"), &login).await;
    for made in [&one, &two] {
        rotator.test(made).await.unwrap();
    }

    let lost = issued.iter().find(|issued| rotator.may_be(issued, &one)).unwrap();
    assert!(!rotator.disable(lost).await.unwrap());
    for _ in 0..2 {
        rotator.delete(lost).await.unwrap();
    }
    let error = rotator.test(&one).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "{error:?}");
    tells_nothing(&error, &[&value(&one)]);
    rotator.test(&two).await.unwrap();
    assert_eq!(rotator.issued(PREFIX, &two).await.unwrap().len(), 1);
    rotator.test(&asking.current).await.unwrap();
    // In doubt it is.
    let nameless = Issued { hint: None, ..lost.clone() };
    assert!(
        rotator.may_be(&nameless, &two) && rotator.may_be(lost, &keyturn_rotation::Credential::default())
    );
}

#[tokio::test]
async fn vault_ends_one_by_itself_when_it_is_told_to() {
    let server = OpenBao::shared();
    let (mount, rig) = start(server).await;
    let mut settings = settings(&mount);
    settings["expires_in"] = json!("2d");
    let rotator = rig.rotator(NAME, settings);
    let made = rotator.create(&Asking::of(&rig, "none").ask()).await.unwrap().credential;
    let look = json!({"secret_id": value(&made)});
    let found = server.write(&format!("auth/{mount}/role/machines/secret-id/lookup"), &look).await;
    assert_eq!(found["data"]["secret_id_ttl"], 2 * 86_400);
    assert_eq!(found["data"]["metadata"]["name"], format!("{PREFIX}{TOKEN}"));
    assert!(!found.to_string().contains(&value(&made)));
}

#[tokio::test]
async fn what_vault_refuses_has_its_error() {
    let server = OpenBao::shared();
    let (mount, rig) = start(server).await;
    let asking = Asking::of(&rig, "current-canary");
    let issued = Issued { id: "no-such-accessor".to_owned(), ..Issued::default() };
    let other = rig.rotator(NAME, json!({"mount": mount, "role": "others"}));
    for error in [
        other.create(&asking.ask()).await.unwrap_err(),
        other.issued(PREFIX, &asking.current).await.unwrap_err(),
        other.test(&asking.current).await.unwrap_err(),
        other.delete(&issued).await.unwrap_err(),
    ] {
        assert!(matches!(error, RotationError::Denied(_)), "{error:?}");
        tells_nothing(&error, &["current-canary"]);
    }
    let root = Rig::new(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", "root")]);
    let other = root.rotator(NAME, json!({"mount": mount, "role": "others"}));
    let error = other.create(&asking.ask()).await.unwrap_err();
    assert!(matches!(&error, RotationError::Unfit(why) if why == "Vault has no such role"), "{error:?}");
    let wrong = Rig::new(&[("HCP_VAULT_ADDR", server.url()), ("HCP_VAULT_TOKEN", CANARY)]);
    let error = wrong.rotator(NAME, settings(&mount)).create(&asking.ask()).await.unwrap_err();
    assert!(matches!(error, RotationError::Denied(_)), "{error:?}");
    tells_nothing(&error, &[CANARY]);
    // Nobody is there.
    let closed = Fake::start(|_| Reply::empty(503)).await;
    let down = Rig::new(&[("HCP_VAULT_ADDR", &closed.url()), ("HCP_VAULT_TOKEN", CANARY)]);
    let error = down.rotator(NAME, settings(&mount)).test(&asking.current).await.unwrap_err();
    assert!(matches!(error, RotationError::Unavailable(_)), "{error:?}");
    tells_nothing(&error, &[CANARY, "current-canary"]);
}

/// A server that says anything, and repeats what it was sent: no error does.
#[tokio::test]
async fn no_answer_makes_a_secret_known() {
    let status = Arc::new(AtomicU16::new(204));
    let answered = Arc::clone(&status);
    let fake = Fake::start(move |arrived| {
        // A token that may not look itself up is used as it is.
        if arrived.path.ends_with("/lookup-self") {
            return Reply::json(403, &json!({"errors": ["permission denied"]}));
        }
        let sent = format!("{} {}", arrived.header("x-vault-token"), String::from_utf8_lossy(&arrived.body));
        match answered.load(Ordering::SeqCst) {
            204 => Reply::empty(204),
            200 => Reply::json(200, &json!({"data": {"keys": [1], "secret_id_accessor": 1, "sent": sent}})),
            status => Reply::json(status, &json!({"errors": [sent]})),
        }
    })
    .await;
    let rig = Rig::new(&[("HCP_VAULT_ADDR", &fake.url()), ("HCP_VAULT_TOKEN", CANARY)]);
    let rotator = rig.rotator(NAME, json!({"role": "machines"}));
    let current = credential("current-canary");
    let issued = Issued { id: "a".to_owned(), ..Issued::default() };
    let asking = Asking::of(&rig, "current-canary");
    let error = rotator.test(&current).await.unwrap_err();
    assert!(matches!(error, RotationError::Refused(_)), "an empty answer is no secret id: {error:?}");
    for (answer, expected) in [
        (200, "malformed"),
        (400, "unfit"),
        (403, "denied"),
        (412, "unavailable"),
        (429, "unavailable"),
        (500, "unavailable"),
        (503, "unavailable"),
    ] {
        status.store(answer, Ordering::SeqCst);
        let mut errors = vec![
            rotator.test(&current).await.unwrap_err(),
            rotator.issued(PREFIX, &current).await.unwrap_err(),
        ];
        // Of these a success needs no more than the status.
        if answer != 200 {
            errors.push(rotator.create(&asking.ask()).await.unwrap_err());
            errors.push(rotator.delete(&issued).await.unwrap_err());
        }
        for error in errors {
            let kind = match &error {
                RotationError::Malformed(_) => "malformed",
                RotationError::Unfit(_) => "unfit",
                RotationError::Denied(_) => "denied",
                RotationError::Unavailable(_) => "unavailable",
                other => panic!("{answer}: {other:?}"),
            };
            assert_eq!(kind, expected, "{answer}: {error:?}");
            tells_nothing(&error, &[CANARY, "current-canary"]);
        }
    }
}
