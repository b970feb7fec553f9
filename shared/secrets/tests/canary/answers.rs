//! A service that has the canary in every answer, to a store whose own credential is the canary too.

use std::fmt::Write;

use keyturn_secrets::Stage;
use keyturn_tests::fake::{Answer, Fake, Mishap};
use serde_json::json;

use crate::{CANARY, shows_nothing, surroundings, words};

/// Answers that no store takes for a secret, each with the canary in it.
fn answers() -> Vec<(u16, &'static str, String)> {
    let json = |value: serde_json::Value| value.to_string();
    let mut answers = vec![
        (200, "text/html", format!("<p>{CANARY}</p>")),
        (
            200,
            "application/json",
            json(json!({"data": {"value": CANARY}, "lease_id": "", "lease_duration": 60})),
        ),
        (
            200,
            "application/json",
            json(json!({"data": CANARY, "lease_id": CANARY, "lease_duration": CANARY})),
        ),
        (200, "application/json", json(json!({"payload": [CANARY], "signature": CANARY}))),
    ];
    for status in [301, 400, 401, 403, 404, 409, 422, 429, 500, 503] {
        answers.push((status, "text/plain", CANARY.to_owned()));
        answers.push((status, "application/json", json(json!({"errors": [CANARY]}))));
        answers.push((
            status,
            "application/json",
            json(json!({"error": {"code": CANARY, "message": CANARY}})),
        ));
        answers.push((status, "application/json", json(json!({"error": CANARY, "type": CANARY}))));
    }
    answers
}

/// What a store shows of a service that has the canary in every answer, when its own credential is the canary too.
async fn shown_of_answers(scheme: &str, variables: impl Fn(&str) -> Vec<(&'static str, String)>, name: &str) {
    let mut shown = String::new();
    let mut failures = 0;
    for (status, kind, body) in answers() {
        let service = Fake::start(move |_| Answer(status, kind, body.clone().into())).await;
        let variables = variables(&service.url());
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let store = keyturn_secrets::stores::open(scheme, &surroundings(&variables)).unwrap();
        let is_first = shown.is_empty();
        for mishap in [None, Some(Mishap::Garbage), Some(Mishap::Broken)] {
            service.fail(mishap);
            for stage in [Stage::Current, Stage::Previous, Stage::Named("1".to_owned())] {
                let read = store.get(name, &stage).await;
                failures += usize::from(read.is_err());
                shown.push_str(&read.map_or_else(|error| words(&error), |secret| format!("{secret:?}")));
            }
            write!(shown, "{:?}", store.get_many(&[name, "another/name"]).await).unwrap();
            if !is_first {
                break;
            }
        }
    }
    assert!(failures > 2 * answers().len(), "{failures}");
    shown.push_str("[redacted]");
    shows_nothing(&shown);
}

#[tokio::test]
async fn no_answer_of_vault_conjur_or_a_service_of_ones_own_is_repeated() {
    let vault = |url: &str| vec![("HCP_VAULT_ADDR", url.to_owned()), ("HCP_VAULT_TOKEN", CANARY.to_owned())];
    shown_of_answers("vault", vault, "secret/a").await;
    shown_of_answers("vault-dynamic", vault, "engine/creds/a").await;
    let conjur =
        |url: &str| vec![("CYBERARK_API_BASE", url.to_owned()), ("CYBERARK_API_KEY", CANARY.to_owned())];
    shown_of_answers("cyberark", conjur, "a").await;
    let custom = |url: &str| {
        vec![
            ("KEYTURN_CUSTOM_SECRETS_URL", url.to_owned()),
            ("KEYTURN_CUSTOM_SECRETS_TOKEN", CANARY.to_owned()),
        ]
    };
    shown_of_answers("custom", custom, "a").await;
}
