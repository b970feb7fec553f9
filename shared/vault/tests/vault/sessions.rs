use std::sync::Arc;
use std::time::Duration;

use keyturn_ambient::ManualClock;
use keyturn_tests::openbao::{OpenBao, ROOT, Tap};
use keyturn_vault::{Vault, VaultError};
use serde_json::json;

use crate::rig::{client, clock, mount, policy, text};

/// A server with an AppRole whose tokens live an hour, and a client for it through a tap.
struct Rig {
    server: &'static OpenBao,
    tap: Tap,
    clock: Arc<ManualClock>,
    vault: Arc<Vault>,
    name: String,
}

async fn rig(role: serde_json::Value) -> Rig {
    let server = OpenBao::shared();
    let name = server.fresh("sessions");
    policy(server, &name).await;
    mount(server, "approle", &name).await;
    let mut data = json!({"token_policies": [name], "token_ttl": "1h"});
    data.as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
    server.write(&format!("auth/{name}/role/r"), &data).await;
    let role_id = text(&server.read(&format!("auth/{name}/role/r/role-id")).await, "/data/role_id");
    let secret = server.write(&format!("auth/{name}/role/r/secret-id"), &json!({})).await;
    server.write(&format!("secret/data/{name}/a"), &json!({"data": {}})).await;
    let tap = Tap::start(server.url()).await;
    let clock = clock();
    let vault = client(
        &[
            ("HCP_VAULT_ADDR", &tap.url()),
            ("HCP_VAULT_PATH_PREFIX", &name),
            ("HCP_VAULT_APPROLE_MOUNT_PATH", &name),
            ("HCP_VAULT_APPROLE_ROLE_ID", &role_id),
            ("HCP_VAULT_APPROLE_SECRET_ID", &text(&secret, "/data/secret_id")),
        ],
        &clock,
    );
    Rig { server, tap, clock, vault: Arc::new(vault.unwrap()), name }
}

impl Rig {
    async fn reads(&self, times: usize) {
        let reads = (0..times).map(|_| {
            let vault = Arc::clone(&self.vault);
            tokio::spawn(async move { vault.get("a").await })
        });
        for read in reads.collect::<Vec<_>>() {
            read.await.unwrap().unwrap();
        }
    }

    fn logins(&self) -> usize {
        self.tap.calls("POST", "/login")
    }

    fn renewals(&self) -> usize {
        self.tap.calls("POST", "/renew-self")
    }

    /// Revokes every token of the login.
    async fn revoke(&self) {
        self.server
            .write(&format!("sys/leases/revoke-prefix/auth/{}/login", self.name), &json!({"sync": true}))
            .await;
    }
}

#[tokio::test]
async fn many_who_come_at_once_log_in_once() {
    let rig = rig(json!({})).await;
    rig.reads(20).await;
    assert_eq!((rig.logins(), rig.renewals()), (1, 0));
}

#[tokio::test]
async fn a_token_is_renewed_when_two_thirds_of_its_life_are_over() {
    let rig = rig(json!({})).await;
    rig.reads(1).await;
    rig.clock.advance(Duration::from_secs(39 * 60));
    rig.reads(5).await;
    assert_eq!((rig.logins(), rig.renewals()), (1, 0));
    rig.clock.advance(Duration::from_secs(2 * 60));
    rig.reads(5).await;
    assert_eq!((rig.logins(), rig.renewals()), (1, 1));
    rig.clock.advance(Duration::from_secs(39 * 60));
    rig.reads(5).await;
    assert_eq!((rig.logins(), rig.renewals()), (1, 1));
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_for_long_is_replaced() {
    // The server's clock has hardly moved since the login, so a renewal gives all that is left: 20 minutes; then the
    // half of that is gone.
    let rig = rig(json!({"token_ttl": "1h", "token_explicit_max_ttl": "1h"})).await;
    rig.reads(1).await;
    rig.clock.advance(Duration::from_secs(2 * 3600));
    rig.reads(5).await;
    assert_eq!((rig.logins(), rig.renewals()), (2, 0), "it was over");

    let short = self::rig(json!({"token_type": "batch"})).await;
    short.reads(1).await;
    short.clock.advance(Duration::from_secs(41 * 60));
    short.reads(5).await;
    assert_eq!((short.logins(), short.renewals()), (2, 0), "batch tokens cannot be renewed");
}

#[tokio::test]
async fn a_revoked_token_leads_to_one_login() {
    let rig = rig(json!({})).await;
    rig.reads(1).await;
    rig.revoke().await;
    rig.reads(20).await;
    assert_eq!(rig.logins(), 2);
}

#[tokio::test]
async fn what_the_policy_refuses_leads_to_no_login() {
    let rig = rig(json!({"token_policies": ["default"]})).await;
    for _ in 0..3 {
        assert_eq!(rig.vault.get("a").await, Err(VaultError::Denied("path")));
    }
    assert_eq!(rig.logins(), 1);
}

#[tokio::test]
async fn a_renewal_that_fails_leads_to_a_login_and_a_login_that_fails_to_the_old_token() {
    use keyturn_tests::openbao::Fate;
    let rig = rig(json!({})).await;
    rig.reads(1).await;
    rig.tap.judge(|_, path| if path.ends_with("/renew-self") { Fate::Status(500) } else { Fate::Through });
    rig.clock.advance(Duration::from_secs(41 * 60));
    rig.reads(1).await;
    assert_eq!((rig.logins(), rig.renewals()), (2, 1));
    rig.tap.judge(|_, path| {
        if path.ends_with("/renew-self") || path.ends_with("/login") {
            Fate::Status(500)
        } else {
            Fate::Through
        }
    });
    rig.clock.advance(Duration::from_secs(41 * 60));
    rig.reads(1).await;
    assert_eq!((rig.logins(), rig.renewals()), (3, 2));
}

#[tokio::test]
async fn a_token_of_the_environment_is_renewed_too() {
    let server = OpenBao::shared();
    let made = server.write("auth/token/create", &json!({"ttl": "1h", "policies": ["root"]})).await;
    let token = text(&made, "/auth/client_token");
    let tap = Tap::start(server.url()).await;
    let clock = clock();
    let variables = [("HCP_VAULT_ADDR", tap.url()), ("HCP_VAULT_TOKEN", token.clone())];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let vault = client(&variables, &clock).unwrap();
    assert_eq!(vault.get("no-such-document").await, Err(VaultError::NotFound));
    clock.advance(Duration::from_secs(41 * 60));
    assert_eq!(vault.get("no-such-document").await, Err(VaultError::NotFound));
    assert_eq!((tap.calls("GET", "/lookup-self"), tap.calls("POST", "/renew-self")), (1, 1));
    server.write("auth/token/revoke", &json!({"token": token})).await;
    assert_eq!(vault.get("no-such-document").await, Err(VaultError::Denied("path")));

    // The root token has no end.
    let tap = Tap::start(server.url()).await;
    let vault = client(&[("HCP_VAULT_ADDR", &tap.url()), ("HCP_VAULT_TOKEN", ROOT)], &clock).unwrap();
    assert_eq!(vault.get("no-such-document").await, Err(VaultError::NotFound));
    clock.advance(Duration::from_secs(10_000 * 3600));
    assert_eq!(vault.get("no-such-document").await, Err(VaultError::NotFound));
    assert_eq!((tap.calls("GET", "/lookup-self"), tap.calls("POST", "/renew-self")), (1, 0));
}
