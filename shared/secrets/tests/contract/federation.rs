//! Workload identity federation, by fakes that hold the store to what the services document.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use keyturn_ambient::{Clock, Life, ManualClock};
use keyturn_config::SecretRef;
use keyturn_secrets::stores::{Federation, Surroundings};
use keyturn_secrets::{CacheSettings, CredentialCache, Secret, SecretError, SecretStore, Stage, Stores};
use keyturn_tests::fake::Mishap;
use keyturn_tests::federation::Federation as Services;
use serde_json::json;

use crate::faults::{Fault, Faulty, survives_faults};
use crate::promises::{Seed, keeps_its_promises};

const OPENAI: &str = "openai/identity_provider_id=idp_1,service_account_id=svc_1";
const ANTHROPIC: &str = "anthropic/federation_rule_id=fdrl_1,organization_id=org-1,service_account_id=svac_1,workspace_id=default";
const OPENROUTER: &str = "openrouter/federation_policy_id=4b2f7d1e";

/// A time at which nothing special happens.
fn noon() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn opened(services: &Services, clock: Arc<dyn Clock>, more: &[(&str, &str)]) -> Federation {
    let mut env: HashMap<String, String> =
        services.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Federation::new(&Surroundings { env: Arc::new(env), http: keyturn_http::client().unwrap(), clock })
}

fn store(services: &Services, more: &[(&str, &str)]) -> Federation {
    opened(services, Arc::new(ManualClock::at(noon())), more)
}

async fn get(store: &Federation, name: &str) -> Result<Secret, SecretError> {
    store.get(name, &Stage::Current).await
}

fn cause(error: &SecretError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

/// What is put is what the endpoint issues from then on: nobody writes into this store.
struct Issued(Services, &'static str, &'static str);

#[async_trait]
impl Seed for Issued {
    async fn put(&self, name: &str, value: &str) -> String {
        self.0.put(name, value);
        format!("{}{name}{}", self.1, self.2)
    }

    fn has_stages(&self) -> bool {
        false
    }

    /// An id that is not known is an exchange that is refused.
    fn tells_absence(&self) -> bool {
        false
    }
}

impl Faulty for Issued {
    fn fail(&self, fault: Option<Fault>) {
        let error = |code: &str| json!({"error": code, "error_description": "sk-canary-7d3e1f"});
        self.0.fail(fault.map(|fault| match fault {
            Fault::Denied => Mishap::Status(401, error("invalid_grant")),
            Fault::Throttled => Mishap::Status(429, error("temporarily_unavailable")),
            Fault::Down => Mishap::Status(503, error("server_error")),
            Fault::Broken => Mishap::Broken,
            Fault::Garbage => Mishap::Garbage,
            Fault::Silent => Mishap::Silent,
        }));
    }

    fn reads(&self) -> u64 {
        self.0.exchanges().len().try_into().unwrap()
    }

    fn attempts(&self) -> u64 {
        1
    }

    /// Tokens last 3700 seconds here, of which the last 330 are for the next one.
    fn due_after(&self) -> u64 {
        3400
    }
}

async fn services() -> [Issued; 3] {
    let start = async || {
        let services = Services::start().await;
        services.last(3700);
        services
    };
    [
        Issued(start().await, "openai/identity_provider_id=idp_1,service_account_id=", ""),
        Issued(start().await, "anthropic/federation_rule_id=", ",organization_id=org-1"),
        Issued(start().await, "openrouter/federation_policy_id=", ""),
    ]
}

#[tokio::test]
async fn each_service_keeps_the_promises_and_survives_faults() {
    for service in services().await {
        let open = || -> Arc<dyn SecretStore> {
            Arc::new(opened(&service.0, Arc::new(keyturn_ambient::SystemClock), &[]))
        };
        keeps_its_promises(open(), &service).await;
        survives_faults(open, &service).await;
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_its_service_says() {
    let services = Services::start().await;
    let store = store(&services, &[]);
    // What each asks STS for decides over the last two.
    for (name, lasts) in [(OPENAI, 3600), (ANTHROPIC, 3600), (OPENROUTER, 900)] {
        let secret = get(&store, name).await.unwrap();
        assert_eq!(secret.life, Some(Life::granted(noon(), Duration::from_secs(lasts))), "{name}");
        assert_eq!(Some(secret.value.expose()), services.issued().last().map(String::as_str));
        let again = get(&store, name).await.unwrap();
        assert_ne!((again.version, again.value.expose()), (secret.version, secret.value.expose()), "{name}");
    }
    services.last(10_000_000);
    let secret = get(&store, OPENAI).await.unwrap();
    assert_eq!(secret.life, Some(Life::granted(noon(), Duration::from_secs(86_400))));
    services.last(0);
    let error = get(&store, OPENAI).await.unwrap_err();
    assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    assert!(
        services.sts().asked().iter().all(|asked| asked.header("x-amz-security-token") == "session-token")
    );
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_a_setting_s_fault() {
    let services = Services::start().await;
    let store = store(&services, &[]);
    for status in [404, 410] {
        services.fail(Some(Mishap::Status(status, json!({}))));
        for name in [OPENAI, ANTHROPIC, OPENROUTER] {
            let error = get(&store, name).await.unwrap_err();
            assert!(matches!(error, SecretError::Denied { .. }), "{name}: {error:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_token_or_an_end_is_malformed() {
    let services = Services::start().await;
    let store = store(&services, &[]);
    for answer in [
        json!({}),
        json!([]),
        json!({"access_token": "tok-1f", "token_type": "Bearer"}),
        json!({"access_token": "", "expires_in": 60}),
        json!({"access_token": "tok-1f", "expires_in": -60}),
        json!({"access_token": "tok-1f", "expires_in": "soon"}),
        json!({"access_token": "tok-1f", "expires_in": 60, "token_type": "DPoP"}),
    ] {
        services.fail(Some(Mishap::Status(200, answer.clone())));
        let error = get(&store, OPENAI).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{answer}: {error:?}");
        assert!(!format!("{error:?}").contains("tok-1f"), "{error:?}");
    }
}

#[tokio::test]
async fn refusals_name_the_code_and_repeat_nothing() {
    let services = Services::start().await;
    let store = store(&services, &[]);
    let name = OPENAI.replace("svc_1", "absent");
    let error = get(&store, &name).await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("secret `federation:{name}`: access denied"));
    assert_eq!(cause(&error), "HTTP 401 invalid_grant");
    // The description repeats the token that was brought.
    assert!(!format!("{error:?}").contains("eyJ"), "{error:?}");
    services.sts().fail(Some(Mishap::Status(503, json!({}))));
    let error = get(&store, OPENAI).await.unwrap_err();
    assert!(matches!(error, SecretError::Unavailable { .. }), "{error:?}");
    services.sts().fail(Some(Mishap::Status(403, json!({}))));
    let error = get(&store, OPENAI).await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    assert_eq!(services.exchanges().len(), 1, "without a word for us nobody is asked");
}

#[tokio::test]
async fn a_name_that_is_none_and_another_stage_ask_nobody() {
    let services = Services::start().await;
    let store = store(&services, &[]);
    for name in ["", "azure", "openai", "openai/identity_provider_id=a,service_account_id=b/c"] {
        let error = get(&store, name).await.unwrap_err();
        assert!(matches!(error, SecretError::NotFound { .. }), "{name}: {error:?}");
    }
    let error = store.get(OPENAI, &Stage::Previous).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
    assert!(services.sts().asked().is_empty() && services.exchanges().is_empty());
}

#[tokio::test]
async fn a_token_of_somebody_elses_is_read_at_each_exchange() {
    let services = Services::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (all, own) = (path("all"), path("anthropic"));
    let files =
        [("KEYTURN_FEDERATION_TOKEN_FILE", &*all), ("KEYTURN_FEDERATION_ANTHROPIC_TOKEN_FILE", &*own)];
    let store = store(&services, &files);
    let error = get(&store, OPENAI).await.unwrap_err();
    assert_eq!(cause(&error), "KEYTURN_FEDERATION_TOKEN_FILE names a file that cannot be read");
    std::fs::write(&all, services.subject("https://api.openai.com/v1") + "\n").unwrap();
    std::fs::write(&own, services.subject("https://api.anthropic.com")).unwrap();
    get(&store, OPENAI).await.unwrap();
    get(&store, ANTHROPIC).await.unwrap();
    // Anthropic takes each token once; the file's owner has to be faster than that.
    assert_eq!(cause(&get(&store, ANTHROPIC).await.unwrap_err()), "HTTP 401 invalid_grant");
    std::fs::write(&own, services.subject("https://api.anthropic.com")).unwrap();
    get(&store, ANTHROPIC).await.unwrap();
    // One that is for somebody else.
    assert_eq!(cause(&get(&store, OPENROUTER).await.unwrap_err()), "HTTP 400 invalid_grant");
    let asked = services.exchanges().len();
    for wrong in ["", "sk-proj-1234", &"a.b.c".repeat(16 * 1024)] {
        std::fs::write(&all, wrong).unwrap();
        let error = get(&store, OPENAI).await.unwrap_err();
        assert_eq!(cause(&error), "KEYTURN_FEDERATION_TOKEN_FILE names a file that holds no JWT");
    }
    assert_eq!(services.exchanges().len(), asked, "what is no token has left this machine");
    assert!(services.sts().asked().is_empty());
}

#[tokio::test]
async fn who_we_are_goes_over_plain_http_to_this_machine_only() {
    let services = Services::start().await;
    for (url, problem) in [
        ("http://auth.example.com/oauth/token", "must begin with https://, unless it is on this machine"),
        ("http://192.0.2.1/oauth/token", "must begin with https://, unless it is on this machine"),
        ("https://user:canary@auth.example.com/", "is no address"),
        ("nowhere", "is no address"),
    ] {
        let error =
            get(&store(&services, &[("KEYTURN_FEDERATION_OPENAI_URL", url)]), OPENAI).await.unwrap_err();
        assert_eq!(cause(&error), format!("KEYTURN_FEDERATION_OPENAI_URL {problem}"), "{url}");
    }
    assert!(services.sts().asked().is_empty());
}

#[tokio::test]
async fn a_key_for_bedrock_is_made_here_and_ends_with_the_hour() {
    let services = Services::start().await;
    let clock = Arc::new(ManualClock::at(noon()));
    let store = opened(&services, clock.clone(), &[]);
    let secret = get(&store, "bedrock").await.unwrap();
    assert!(secret.value.expose().starts_with("bedrock-api-key-"));
    assert_eq!(secret.life, Some(Life::granted(noon(), Duration::from_secs(3600))));
    let elsewhere = get(&store, "bedrock/aws_region_name=us-west-2").await.unwrap();
    assert_ne!(elsewhere.version, secret.version);
    clock.advance(Duration::from_secs(1));
    assert_ne!(get(&store, "bedrock").await.unwrap().version, secret.version);
    let nobody = self::store(&services, &[("AWS_ACCESS_KEY_ID", "")]);
    let error = get(&nobody, "bedrock").await.unwrap_err();
    assert!(matches!(error, SecretError::Denied { .. }), "{error:?}");
    let nowhere = self::store(&services, &[("AWS_REGION", "")]);
    assert_eq!(cause(&get(&nowhere, "bedrock").await.unwrap_err()), "AWS_REGION is not set");
    assert!(services.sts().asked().is_empty() && services.exchanges().is_empty());
}

#[tokio::test]
async fn through_the_cache_a_refused_token_is_replaced_once_whoever_asks() {
    let services = Services::start().await;
    let clock = Arc::new(ManualClock::at(noon()));
    let store = opened(&services, clock.clone(), &[]);
    let stores = Stores::none().with(Arc::new(store));
    let cache = CredentialCache::new(stores, clock.clone(), CacheSettings::default());
    let reference: SecretRef = format!("federation:{ANTHROPIC}").parse().unwrap();
    assert!(cache.prefetch(std::slice::from_ref(&reference)).await.is_empty());
    let all = join_all((0..200).map(|_| cache.get(&reference))).await;
    let first = all[0].as_ref().unwrap().clone();
    assert!(all.iter().all(|secret| secret.as_ref().unwrap().version == first.version));
    assert_eq!(services.exchanges().len(), 1);
    let all = join_all((0..200).map(|_| cache.refused(&reference, &first.version))).await;
    let second = all[0].as_ref().unwrap().clone();
    assert_ne!(second.version, first.version);
    assert!(all.iter().all(|secret| secret.as_ref().unwrap().version == second.version));
    assert_eq!(services.exchanges().len(), 2);
    // Refused too: nobody is asked again so soon, and there is no version before it.
    let third = cache.refused(&reference, &second.version).await.unwrap();
    assert_eq!(third.version, second.version);
    assert!(cache.previous(&reference).await.unwrap().is_none());
    assert_eq!(services.exchanges().len(), 2);
    // It ends by itself, whatever the TTLs of other secrets are.
    services.fail(Some(Mishap::Status(503, json!({}))));
    clock.advance(Duration::from_secs(3600 - 31));
    cache.get(&reference).await.unwrap();
    clock.advance(Duration::from_secs(1));
    cache.get(&reference).await.unwrap_err();
}
