use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use keyturn_tests::openbao::{Fate, OpenBao, ROOT, Tap};
use keyturn_vault::{Outage, Vault, VaultError};
use serde_json::json;

use crate::rig::vault;

fn client(url: &str, prefix: &str) -> Vault {
    vault(&[("HCP_VAULT_ADDR", url), ("HCP_VAULT_TOKEN", ROOT), ("HCP_VAULT_PATH_PREFIX", prefix)])
}

#[tokio::test]
async fn a_sealed_server_is_an_outage() {
    let server = OpenBao::start();
    let vault = client(server.url(), "sealed");
    vault.set("a", &json!({})).await.unwrap();
    server.write("sys/seal", &json!({})).await;
    let sealed = VaultError::Unavailable(Outage::Sealed);
    assert_eq!(vault.get("a").await, Err(sealed.clone()));
    assert_eq!(vault.set("a", &json!({})).await, Err(sealed.clone()));
    assert_eq!(client(server.url(), "sealed").get("a").await, Err(sealed), "before the first login");
}

#[tokio::test]
async fn a_rate_limit_is_an_outage() {
    let server = OpenBao::start();
    let vault = client(server.url(), "throttled");
    vault.set("a", &json!({})).await.unwrap();
    // The first request of the quota's hour uses it up.
    let quota = json!({"rate": 1, "interval": "1h", "path": "secret/"});
    server.write("sys/quotas/rate-limit/one", &quota).await;
    vault.get("a").await.unwrap();
    assert_eq!(vault.get("a").await, Err(VaultError::Unavailable(Outage::Throttled)));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_outage() {
    let server = OpenBao::start();
    let vault = client(server.url(), "gone");
    vault.set("a", &json!({})).await.unwrap();
    drop(server);
    assert_eq!(vault.get("a").await, Err(VaultError::Unavailable(Outage::Unreachable)));
}

#[tokio::test]
async fn reads_are_tried_again_and_writes_only_when_they_were_not_made() {
    let server = OpenBao::shared();
    let prefix = server.fresh("again");
    let tap = Tap::start(server.url()).await;
    let vault = client(&tap.url(), &prefix);
    vault.set("a", &json!({})).await.unwrap();
    for (fate, read, write) in [
        (Fate::Status(500), Ok(()), Err(Outage::Status(500))),
        (Fate::Status(412), Ok(()), Ok(())),
        (Fate::Status(429), Err(Outage::Throttled), Err(Outage::Throttled)),
        (Fate::Broken, Ok(()), Err(Outage::Unreachable)),
        (Fate::AnswerLost, Ok(()), Err(Outage::Unreachable)),
    ] {
        let once = || {
            let calls = Arc::new(AtomicUsize::new(0));
            tap.judge(move |_: &Method, _: &str| match calls.fetch_add(1, Ordering::Relaxed) {
                0 => fate,
                _ => Fate::Through,
            });
        };
        let outcome = |expected: Result<(), Outage>| expected.map_err(VaultError::Unavailable);
        once();
        assert_eq!(vault.get("a").await.map(drop), outcome(read), "{fate:?}");
        once();
        assert_eq!(vault.set("a", &json!({})).await.map(drop), outcome(write), "{fate:?}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_an_outage_and_is_not_repeated() {
    use keyturn_tests::server::{Server, json as json_answer};
    let fake = Server::start(|_, _| async { json_answer(http::StatusCode::OK, &json!({"canary": 1})) }).await;
    let error = client(&fake.url(), "malformed").get("a").await.unwrap_err();
    assert_eq!(error, VaultError::Unavailable(Outage::Malformed));
    assert!(!format!("{error:?} {error}").contains("canary"));
}
