//! Vault's dynamic secrets: OpenBao's engines for RabbitMQ, whose leases can be renewed, and for certificates, whose
//! cannot; and a server of leases by a clock of ours, for what takes hours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use keyturn_ambient::{Clock, ManualClock, SystemClock};
use keyturn_config::SecretRef;
use keyturn_secrets::stores::{Surroundings, VaultDynamic};
use keyturn_secrets::{
    CacheSettings, CredentialCache, Secret, SecretError, SecretStore, Stage, Stores, VersionId,
};
use keyturn_tests::fake::{Answer, Fake, Mishap};
use keyturn_tests::openbao::{OpenBao, ROOT, Tap};
use serde_json::{Value, json};

use crate::faults::{Fault, Faulty, survives_faults};
use crate::leases::{Leases, Lives};
use crate::promises::{Seed, keeps_its_promises};
use crate::vault::{login, revoke_logins};

fn store(variables: &[(&'static str, String)], clock: Arc<dyn Clock>) -> VaultDynamic {
    let env: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    VaultDynamic::new(&Surroundings { env: Arc::new(env), http: keyturn_http::client().unwrap(), clock })
}

async fn get(store: &VaultDynamic, name: &str) -> Result<Secret, SecretError> {
    store.get(name, &Stage::Current).await
}

/// One field of a credential.
fn field(secret: &Secret, name: &str) -> String {
    let fields: Value = serde_json::from_str(secret.value.expose()).unwrap();
    fields[name].as_str().unwrap().to_owned()
}

const LIVES: Lives = Lives {
    lease: Duration::from_secs(600),
    longest: Duration::from_secs(3600),
    token: Duration::from_secs(1800),
    longest_token: Duration::from_secs(7200),
};

/// The promises are about texts and the cache's own TTLs: they are asked of one field of each credential, without its
/// life, which has tests of its own here.
struct OneField(VaultDynamic);

#[async_trait]
impl SecretStore for OneField {
    fn scheme(&self) -> &'static str {
        self.0.scheme()
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let secret = self.0.get(name, stage).await?;
        assert!(secret.life.is_some());
        Ok(Secret::new(field(&secret, "value"), secret.version))
    }
}

#[async_trait]
impl Seed for Leases {
    /// What is issued from now on has this value; what was issued is revoked.
    async fn put(&self, name: &str, value: &str) -> String {
        let mut state = self.state.lock().unwrap();
        state.add(name, Some(value));
        state.revoke_leases(name);
        format!("engine/creds/{name}")
    }

    fn has_stages(&self) -> bool {
        false
    }
}

impl Faulty for Leases {
    fn fail(&self, fault: Option<Fault>) {
        let said = |error: &str| json!({"errors": [error]});
        self.fake.fail(fault.map(|fault| match fault {
            Fault::Denied => Mishap::Status(403, said("permission denied")),
            Fault::Throttled => {
                Mishap::Status(429, said("request path \"engine\": rate limit quota exceeded"))
            }
            Fault::Down => Mishap::Status(503, said("Vault is sealed")),
            Fault::Broken => Mishap::Broken,
            Fault::Garbage => Mishap::Garbage,
            Fault::Silent => Mishap::Silent,
        }));
    }

    fn reads(&self) -> u64 {
        u64::try_from(Leases::reads(self)).unwrap()
    }

    fn attempts(&self) -> u64 {
        3
    }
}

#[tokio::test]
async fn dynamic_secrets_keep_their_promises_and_survive_faults() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let server = Leases::start(Arc::clone(&clock), LIVES).await;
    let open = || Arc::new(OneField(store(&server.variables(), Arc::clone(&clock))));
    keeps_its_promises(open(), &server).await;
    survives_faults(|| open(), &server).await;
}

/// A cache and a server that go by one clock, and how many read at a time.
struct Load {
    clock: Arc<ManualClock>,
    server: Leases,
    store: Arc<VaultDynamic>,
    cache: CredentialCache,
    reference: SecretRef,
}

impl Load {
    const READERS: usize = 50;

    async fn start(lives: Lives) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let server = Leases::start(clock.clone(), lives).await;
        server.state.lock().unwrap().add("gateway", None);
        let store = Arc::new(store(&server.variables(), clock.clone()));
        let stores = Stores::none().with(store.clone());
        let cache = CredentialCache::new(stores, clock.clone(), CacheSettings::default());
        let reference = "vault-dynamic:engine/creds/gateway#value".parse().unwrap();
        Self { clock, server, store, cache, reference }
    }

    /// Many read at once and try what they got at once: all of it is good. Returns what they got.
    async fn round(&self) -> Vec<String> {
        let reads = (0..Self::READERS).map(|_| {
            let (cache, reference) = (self.cache.clone(), self.reference.clone());
            let state = Arc::clone(&self.server.state);
            tokio::spawn(async move {
                let secret = cache.get(&reference).await.unwrap();
                let value = secret.value.expose().to_owned();
                assert!(state.lock().unwrap().is_good(&value), "{value} has ended");
                value
            })
        });
        let mut values = Vec::new();
        for read in reads.collect::<Vec<_>>() {
            values.push(read.await.unwrap());
        }
        // Time stands still until a refresh is over: in the world a call takes no minutes.
        keyturn_tests::within("the refresh", async {
            let is_idle = || {
                let stats = self.cache.stats().total();
                stats.reads == stats.refreshes + stats.refusals + 1
            };
            while !is_idle() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        values
    }

    fn counts(&self) -> (usize, usize) {
        let state = self.server.state.lock().unwrap();
        (state.issues, state.logins)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_credential_is_read_after_its_end_and_few_are_issued() {
    let load = Load::start(LIVES).await;
    // Half a day, in steps of twenty seconds.
    for step in 0..(12 * 180_u32) {
        load.round().await;
        // For two minutes of each quarter of an hour nobody answers.
        let is_down = step % 45 < 6;
        load.server.fail((is_down && step > 0).then_some(Fault::Down));
        load.clock.advance(Duration::from_secs(20));
    }
    let (issues, logins) = load.counts();
    assert!((12..=24).contains(&issues), "{issues} credentials in twelve lives of the longest");
    assert!((6..=10).contains(&logins), "{logins} logins in six lives of the longest");
    assert_eq!(
        load.cache.stats().total().hits,
        u64::from(12 * 180_u32) * 50 - 50,
        "nobody has waited but the first"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_and_replaced_before_the_longest_life_is_over() {
    let load = Load::start(Lives {
        token: Duration::from_secs(36_000),
        longest_token: Duration::from_secs(36_000),
        ..LIVES
    })
    .await;
    let first = load.round().await.remove(0);
    let mut replaced_at = 0;
    for second in (0..3600).step_by(10) {
        load.round().await;
        if load.round().await[0] != first {
            replaced_at = second;
            break;
        }
        load.clock.advance(Duration::from_secs(10));
    }
    // A renewal that gives no more than 200 s is not worth it.
    assert!((3200..3600).contains(&replaced_at), "{replaced_at}");
    assert_eq!(load.counts().0, 2);
    // The one before is good to its end, for those who hold it.
    let former = load.store.get("engine/creds/gateway", &Stage::Previous).await.unwrap();
    assert_eq!(field(&former, "value"), first);
    assert!(load.server.state.lock().unwrap().is_good(&first));
    load.clock.advance(Duration::from_secs(400));
    let error = load.store.get("engine/creds/gateway", &Stage::Previous).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_down_costs_nothing_while_a_lease_lasts() {
    let load = Load::start(LIVES).await;
    let first = load.round().await.remove(0);
    load.server.state.lock().unwrap().engine_is_down = true;
    for _ in 0..27 {
        load.clock.advance(Duration::from_secs(20));
        assert_eq!(load.round().await[0], first);
    }
    load.server.state.lock().unwrap().engine_is_down = false;
    load.clock.advance(Duration::from_secs(20));
    assert_eq!(load.round().await[0], first, "renewed at the last moment");
    load.clock.advance(Duration::from_secs(300));
    assert_eq!(load.round().await[0], first);
    assert_eq!(load.counts().0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_replaced_once_for_all_who_are_refused() {
    let load = Load::start(LIVES).await;
    let first = load.cache.get(&load.reference).await.unwrap();
    for (number, revoke_tokens) in [false, true].into_iter().enumerate() {
        let version = load.cache.get(&load.reference).await.unwrap().version;
        {
            let mut state = load.server.state.lock().unwrap();
            if revoke_tokens { state.revoke_tokens() } else { state.revoke_leases("gateway") }
        }
        load.clock.advance(Duration::from_secs(20));
        let refused = join_all((0..200).map(|_| load.cache.refused(&load.reference, &version))).await;
        let versions: Vec<VersionId> = refused.into_iter().map(|secret| secret.unwrap().version).collect();
        assert!(versions.iter().all(|new| *new != version && *new == versions[0]));
        assert_eq!(load.counts(), (number + 2, if revoke_tokens { 2 } else { 1 }));
        load.round().await;
    }
    assert_ne!(load.cache.get(&load.reference).await.unwrap().version, first.version);
    // Also without a cache in front.
    load.server.state.lock().unwrap().revoke_tokens();
    let reads = join_all((0..200).map(|_| get(&load.store, "engine/creds/gateway"))).await;
    let reads: Vec<Secret> = reads.into_iter().map(Result::unwrap).collect();
    assert!(reads.iter().all(|read| read.version == reads[0].version));
    assert_eq!(load.counts(), (4, 3));
}

/// OpenBao with an engine for RabbitMQ, whose own API is made up; and the store, through a tap.
struct Rabbit {
    rabbit: Fake,
    mount: String,
    tap: Tap,
}

impl Rabbit {
    async fn start() -> Self {
        let server = OpenBao::shared();
        let rabbit = Fake::start(|asked| match asked.method.as_str() {
            "GET" => Answer::json(200, &json!([])),
            _ => Answer::text(204, ""),
        })
        .await;
        let mount = server.fresh("rabbitmq");
        server.write(&format!("sys/mounts/{mount}"), &json!({"type": "rabbitmq"})).await;
        let connection = json!({"connection_uri": rabbit.url(), "username": "a", "password": "b"});
        server.write(&format!("{mount}/config/connection"), &connection).await;
        let role = json!({"vhosts": r#"{"/": {"configure": "", "write": ".*", "read": ".*"}}"#});
        server.write(&format!("{mount}/roles/gateway"), &role).await;
        let this = Self { rabbit, mount, tap: Tap::start(server.url()).await };
        this.lasts(3600).await;
        this
    }

    /// From now on leases are granted for this long.
    async fn lasts(&self, seconds: u64) {
        let lease = json!({"ttl": seconds, "max_ttl": 7200});
        OpenBao::shared().write(&format!("{}/config/lease", self.mount), &lease).await;
    }

    fn name(&self) -> String {
        format!("{}/creds/gateway", self.mount)
    }

    fn store(&self, login: Option<Vec<(&'static str, String)>>) -> VaultDynamic {
        let root = || vec![("HCP_VAULT_ADDR", self.tap.url()), ("HCP_VAULT_TOKEN", ROOT.to_owned())];
        store(&login.unwrap_or_else(root), Arc::new(SystemClock))
    }

    /// The names of the users that are there.
    fn users(&self) -> Vec<String> {
        let mut users = Vec::new();
        for asked in self.rabbit.asked() {
            let Some(user) = asked.path.strip_prefix("/api/users/") else { continue };
            match asked.method.as_str() {
                "PUT" => users.push(user.to_owned()),
                "DELETE" => users.retain(|other| other != user),
                _ => {}
            }
        }
        users
    }

    async fn revoke(&self) {
        let all = format!("sys/leases/revoke-prefix/{}", self.mount);
        OpenBao::shared().write(&all, &json!({"sync": true})).await;
    }
}

#[tokio::test]
async fn a_credential_of_openbao_is_renewed_and_replaced() {
    let rabbit = Rabbit::start().await;
    let (store, name) = (rabbit.store(None), rabbit.name());
    let first = get(&store, &name).await.unwrap();
    assert_eq!(rabbit.users(), [field(&first, "username")]);
    let life = first.life.unwrap();
    let left = life.ends_at.duration_since(Timestamp::now()).as_secs();
    assert!((3500..=3570).contains(&left), "{left}");
    assert!(!first.version.as_str().contains("creds"), "{}", first.version);

    let again = get(&store, &name).await.unwrap();
    assert_eq!((&again.version, again.value.expose()), (&first.version, first.value.expose()));
    assert!(again.life.unwrap().ends_at > life.ends_at);
    let calls = || (rabbit.tap.calls("GET", "/creds/"), rabbit.tap.calls("POST", "/leases/renew"));
    assert_eq!(calls(), (1, 1));

    // Near the longest life a renewal gives little; here because the engine's limit is set down.
    rabbit.lasts(60).await;
    let second = get(&store, &name).await.unwrap();
    assert_ne!(second.version, first.version);
    assert_eq!(calls(), (2, 2));
    assert_eq!(rabbit.users(), [field(&first, "username"), field(&second, "username")], "both serve");
    let former = store.get(&name, &Stage::Previous).await.unwrap();
    assert_eq!((former.version, former.value.expose()), (first.version, first.value.expose()));

    rabbit.revoke().await;
    assert!(rabbit.users().is_empty());
    let third = get(&store, &name).await.unwrap();
    assert_eq!(rabbit.users(), [field(&third, "username")]);
    assert_eq!(calls(), (3, 3));

    for absent in [format!("{}/creds/none", rabbit.mount), "nowhere/creds/a".to_owned(), "creds".to_owned()] {
        let error = get(&store, &absent).await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{absent}: {error:?}");
    }
    let path = OpenBao::shared().fresh("document");
    OpenBao::shared().write(&format!("secret/data/{path}"), &json!({"data": {"key": "sk-1"}})).await;
    let error = get(&store, &format!("secret/data/{path}")).await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "without a lease: {error:?}");
}

#[tokio::test]
async fn a_lease_ends_with_its_token_and_the_policy_in_infra_is_enough() {
    let rabbit = Rabbit::start().await;
    let rules = include_str!("../../../../infra/vault/dynamic-read.hcl");
    assert!(rules.contains("\"rabbitmq/creds/gateway\""), "it names the path");
    let rules = rules.replace("rabbitmq/", &format!("{}/", rabbit.mount));
    let login = login(&rabbit.tap, &OpenBao::shared().fresh("dynamic"), &rules).await;
    let method = login[1].1.clone();
    let (store, name) = (rabbit.store(Some(login)), rabbit.name());
    rabbit.lasts(7200).await;
    let first = get(&store, &name).await.unwrap();
    let left = first.life.unwrap().ends_at.duration_since(Timestamp::now()).as_secs();
    assert!(left < 3600, "the token lasts an hour, the lease {left} s");
    assert_eq!(get(&store, &name).await.unwrap().version, first.version, "renewed");

    revoke_logins(&method).await;
    // The server takes the leases along, in its own time.
    keyturn_tests::within("the leases to end", async {
        while !rabbit.users().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reads = join_all((0..200).map(|_| get(&store, &name))).await;
    let reads: Vec<Secret> = reads.into_iter().map(Result::unwrap).collect();
    assert!(reads.iter().all(|read| read.version == reads[0].version));
    assert_ne!(reads[0].version, first.version);
    assert_eq!(rabbit.users(), [field(&reads[0], "username")]);
    assert_eq!((rabbit.tap.calls("POST", "/login"), rabbit.tap.calls("GET", "/creds/")), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_renewed_is_kept_as_long_as_its_lease_is_there() {
    let server = OpenBao::shared();
    let mount = server.fresh("pki");
    server.write(&format!("sys/mounts/{mount}"), &json!({"type": "pki"})).await;
    let authority = json!({"common_name": "test", "ttl": "100h", "key_type": "ec"});
    server.write(&format!("{mount}/root/generate/internal"), &authority).await;
    let role = json!({"allow_any_name": true, "generate_lease": true, "ttl": "1h", "key_type": "ec"});
    server.write(&format!("{mount}/roles/gateway"), &role).await;
    let clock = Arc::new(ManualClock::at(Timestamp::now()));
    let variables = [("HCP_VAULT_ADDR", server.url().to_owned()), ("HCP_VAULT_TOKEN", ROOT.to_owned())];
    let store = store(&variables, clock.clone());
    let name = format!("{mount}/issue/gateway,common_name=gateway.internal");
    let first = get(&store, &name).await.unwrap();
    assert!(field(&first, "private_key").contains("BEGIN EC PRIVATE KEY"));
    assert_eq!(get(&store, &name).await.unwrap().version, first.version);
    clock.advance(Duration::from_secs(3300));
    let second = get(&store, &name).await.unwrap();
    assert_ne!(second.version, first.version, "it is due");
    server.write(&format!("sys/leases/revoke-prefix/{mount}"), &json!({"sync": true})).await;
    let third = get(&store, &name).await.unwrap();
    assert_ne!(third.version, second.version, "it is gone");
    // A request that the engine does not take is an operator's work.
    for wrong in [format!("{mount}/issue/gateway,ttl=1h"), format!("{mount}/issue/gateway,common_name")] {
        let error = get(&store, &wrong).await.unwrap_err();
        assert!(matches!(error, SecretError::Denied { .. } | SecretError::NotFound { .. }), "{error:?}");
    }
}
