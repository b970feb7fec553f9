//! Sealed values. A reference is the value, so nothing can be missing or change under it, and no server is asked but the
//! one that has the salt key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyturn_ambient::{Env, ManualClock, SystemClock};
use keyturn_sealed::{SaltKey, Sealed, Version};
use keyturn_secrets::stores::{Environment, SaltKeys, SealedValues, Surroundings};
use keyturn_secrets::{CacheSettings, CredentialCache, Secret, SecretError, SecretStore, Stage, Stores};
use secrecy::SecretString;

use crate::promises::{self, Seed};

const FIRST: &str = "sk-salt-key-of-version-1";
const SECOND: &str = "sk-salt-key-of-version-2";

fn salt_key(version: u32, text: &str) -> SaltKey {
    SaltKey::new(Version::new(version).unwrap(), text.into()).unwrap()
}

/// The name of a reference to a value.
fn sealed(value: &str, key: &SaltKey) -> String {
    let sealed = Sealed::seal(&SecretString::from(value), key).unwrap().to_string();
    sealed.strip_prefix("sealed:").unwrap().to_owned()
}

/// An environment that changes.
#[derive(Default)]
struct Variables(Mutex<HashMap<String, String>>);

impl Variables {
    fn of(pairs: &[(&str, &str)]) -> Arc<Self> {
        let variables = Arc::new(Self::default());
        pairs.iter().for_each(|(name, value)| variables.set(name, value));
        variables
    }

    fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }
}

impl Env for Variables {
    fn var(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().var(name)
    }
}

fn found(variables: &Arc<Variables>) -> Surroundings {
    let env: Arc<dyn Env> = Arc::clone(variables) as _;
    Surroundings { env, http: keyturn_http::client().unwrap(), clock: Arc::new(SystemClock) }
}

fn store(pairs: &[(&str, &str)]) -> SealedValues {
    SealedValues::new(&found(&Variables::of(pairs)))
}

async fn value(store: &dyn SecretStore, name: &str) -> Result<String, SecretError> {
    Ok(store.get(name, &Stage::Current).await?.value.expose().to_owned())
}

/// An error's kind, and what it says besides its reference.
fn told(error: &SecretError) -> (&'static str, String) {
    let kind = match error {
        SecretError::NotFound { .. } => "not found",
        SecretError::Denied { .. } => "denied",
        SecretError::Unavailable { .. } => "unavailable",
        SecretError::Malformed { .. } => "malformed",
        SecretError::Conflict { .. } | SecretError::UnknownScheme { .. } => "something else",
    };
    (kind, std::error::Error::source(error).unwrap().to_string())
}

/// Seals what it is given.
struct Sealer;

#[async_trait]
impl Seed for Sealer {
    async fn put(&self, _: &str, value: &str) -> String {
        sealed(value, &salt_key(1, FIRST))
    }

    fn has_stages(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn sealed_values_keep_the_promises_that_can_be_broken() {
    let store: Arc<dyn SecretStore> = Arc::new(store(&[("KEYTURN_SALT_KEY", FIRST)]));
    promises::reads(&*store, &Sealer).await;
    promises::stages(&*store, &Sealer).await;
    promises::any_text(&*store, &Sealer).await;
    promises::fields(Arc::clone(&store), &Sealer).await;
    promises::at_once(&*store, &Sealer).await;
}

#[tokio::test]
async fn one_salt_key_is_version_1_and_ours_wins() {
    let name = sealed("sk-one", &salt_key(1, FIRST));
    for pairs in [
        &[("KEYTURN_SALT_KEY", FIRST)][..],
        &[("LITELLM_SALT_KEY", FIRST)],
        &[("LITELLM_SALT_KEY", SECOND), ("KEYTURN_SALT_KEY", FIRST)],
        &[("KEYTURN_SALT_KEY", SECOND), ("KEYTURN_SALT_KEYS", "1:sk-salt-key-of-version-1")],
    ] {
        assert_eq!(value(&store(pairs), &name).await.unwrap(), "sk-one", "{pairs:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let name = sealed("sk-one", &salt_key(1, FIRST));
    let many = "KEYTURN_SALT_KEYS";
    let list = "KEYTURN_SALT_KEYS is not a list of salt keys: expected VERSION:KEY, with spaces between them";
    for (pairs, kind, expected) in [
        (&[][..], "denied", "KEYTURN_SALT_KEY is not set"),
        (
            &[(many, "2:sk-salt-key-of-version-2")],
            "denied",
            "there is no version 1 of the salt key in KEYTURN_SALT_KEYS",
        ),
        (&[(many, "sk-salt-key-of-version-2")], "denied", list),
        (&[(many, "0:sk-salt-key-of-version-2")], "denied", list),
        (&[(many, "1:")], "denied", list),
        (&[(many, "  ")], "denied", "KEYTURN_SALT_KEYS has no salt key"),
        (&[(many, "1:a 1:b")], "denied", "KEYTURN_SALT_KEYS has two salt keys of one version"),
        (&[(many, "1:sealed:2.AbCd")], "denied", "KEYTURN_SALT_KEYS has a salt key that is sealed itself"),
        (
            &[("KEYTURN_SALT_KEY", "sealed:2.AbCd")],
            "denied",
            "KEYTURN_SALT_KEY has a salt key that is sealed itself",
        ),
        (
            &[("KEYTURN_SALT_KEY", "env:sk-1")],
            "denied",
            "a salt key in KEYTURN_SALT_KEY is not the name of an environment variable",
        ),
        (
            &[("LITELLM_SALT_KEY", "sk-1234")],
            "denied",
            "version 1 of the salt key (LITELLM_SALT_KEY) is too easy to guess: a salt key has at least 20 characters, 8 \
             of them different",
        ),
        (
            &[("KEYTURN_SALT_KEY", SECOND)],
            "malformed",
            "it does not open with version 1 of the salt key: either was changed",
        ),
    ] {
        let error = value(&store(pairs), &name).await.unwrap_err();
        assert_eq!(told(&error), (kind, expected.to_owned()), "{pairs:?}");
        assert!(error.to_string().contains(&format!("sealed:{name}")), "{error}");
    }
    let good = store(&[("KEYTURN_SALT_KEY", FIRST)]);
    let mut tampered = name.clone();
    let last = if name.ends_with('A') { "E" } else { "A" };
    tampered.replace_range(name.len() - 9..name.len() - 8, last);
    for broken in [&*tampered, "1.AQ", "nonsense", &name[..name.len() - 1]] {
        assert_eq!(told(&value(&good, broken).await.unwrap_err()).0, "malformed", "{broken}");
    }
}

#[tokio::test]
async fn the_salt_key_is_replaced_while_values_are_read() {
    let variables = Variables::of(&[("KEYTURN_SALT_KEYS", "1:sk-salt-key-of-version-1")]);
    let (store, keys) = (SealedValues::new(&found(&variables)), SaltKeys::new(&found(&variables)));
    let old = sealed("sk-one", &keys.newest().await.unwrap().unwrap());
    assert!(old.starts_with("1."));
    variables.set("KEYTURN_SALT_KEYS", "2:sk-salt-key-of-version-2 1:sk-salt-key-of-version-1");
    let newest = keys.newest().await.unwrap().unwrap();
    let former = keys.version(Version::MIN).await.unwrap();
    let again =
        format!("sealed:{old}").parse::<Sealed>().unwrap().rewrap(&former, &newest).unwrap().to_string();
    let again = again.strip_prefix("sealed:").unwrap();
    assert!(again.starts_with("2."));
    let [one, two] = [&old, again].map(|name| async { store.get(name, &Stage::Current).await.unwrap() });
    let (one, two) = (one.await, two.await);
    assert_eq!((one.value.expose(), two.value.expose()), ("sk-one", "sk-one"));
    assert_eq!(one.version, two.version, "the value is the same");
    variables.set("KEYTURN_SALT_KEYS", "2:sk-salt-key-of-version-2");
    assert_eq!(value(&store, again).await.unwrap(), "sk-one");
    let error = value(&store, &old).await.unwrap_err();
    assert_eq!(
        told(&error),
        ("denied", "there is no version 1 of the salt key in KEYTURN_SALT_KEYS".to_owned())
    );
}

#[tokio::test]
async fn the_highest_version_seals_wherever_it_stands() {
    for list in [
        "2:sk-salt-key-of-version-2 1:sk-salt-key-of-version-1",
        "1:sk-salt-key-of-version-1 2:sk-salt-key-of-version-2",
    ] {
        let keys = SaltKeys::new(&found(&Variables::of(&[("KEYTURN_SALT_KEYS", list)])));
        assert_eq!(keys.newest().await.unwrap().unwrap().version().get(), 2, "{list}");
    }
}

#[tokio::test]
async fn what_is_looked_up_in_the_environment_is_no_salt_key() {
    let name = sealed("sk-one", &salt_key(1, FIRST));
    for variable in ["KEYTURN_SALT_KEY", "LITELLM_SALT_KEY"] {
        let pairs = [(variable, "os.environ/MY_SALT_KEY"), ("MY_SALT_KEY", FIRST)];
        assert_eq!(value(&store(&pairs), &name).await.unwrap(), "sk-one");
    }
    let pairs = [("KEYTURN_SALT_KEY", "os.environ/LITELLM_SALT_KEY"), ("LITELLM_SALT_KEY", FIRST)];
    assert_eq!(value(&store(&pairs), &name).await.unwrap(), "sk-one");
    let by_its_words = sealed("sk-one", &salt_key(1, "os.environ/MY_SALT_KEY"));
    let (_, words) = told(
        &value(&store(&[("KEYTURN_SALT_KEY", "os.environ/MY_SALT_KEY")]), &by_its_words).await.unwrap_err(),
    );
    assert!(
        words.starts_with("version 1 of the salt key cannot be read: secret `env:MY_SALT_KEY`"),
        "{words}"
    );
}

#[tokio::test]
async fn a_salt_key_that_turns_out_to_be_sealed_is_refused() {
    let text = format!("sealed:{}", sealed(FIRST, &salt_key(2, SECOND)));
    let name = sealed("sk-one", &salt_key(1, &text));
    let store = store(&[("KEYTURN_SALT_KEY", "env:SALT"), ("SALT", &text)]);
    assert_eq!(
        told(&value(&store, &name).await.unwrap_err()),
        ("denied", "KEYTURN_SALT_KEY has a salt key that is sealed itself".to_owned())
    );
}

#[tokio::test]
async fn a_salt_key_whose_store_needs_a_salt_key_is_an_error_and_no_circle() {
    let text = format!("sealed:{}", sealed("token", &salt_key(1, FIRST)));
    for token in [&*text, "env:T"] {
        let store = store(&[
            ("KEYTURN_SALT_KEYS", "1:custom:salt"),
            ("KEYTURN_CUSTOM_SECRETS_URL", "http://127.0.0.1:1/"),
            ("KEYTURN_CUSTOM_SECRETS_TOKEN", token),
            ("T", &text),
        ]);
        let (kind, words) = told(&value(&store, &sealed("sk-one", &salt_key(1, FIRST))).await.unwrap_err());
        assert_eq!(kind, "denied", "{words}");
        assert!(words.contains("cannot be read: secret `custom:salt"), "{words}");
        assert!(words.contains("KEYTURN_SALT_KEY is not set"), "{words}");
    }
}

/// A key management service that answers as it is told, and how often it was asked.
struct Kms(Mutex<(Result<&'static str, SecretError>, u32)>);

#[async_trait]
impl SecretStore for Kms {
    fn scheme(&self) -> &'static str {
        "vault"
    }

    async fn get(&self, name: &str, _: &Stage) -> Result<Secret, SecretError> {
        assert_eq!(name, "transit/salt");
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        state.0.clone().map(|value| Secret::unversioned(value.to_owned()))
    }
}

/// The store whose salt key is in such a service: the service, its clock, and the store.
fn enveloped(answer: Result<&'static str, SecretError>) -> (Arc<Kms>, Arc<ManualClock>, SealedValues) {
    let (kms, clock) =
        (Arc::new(Kms(Mutex::new((answer, 0)))), Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH)));
    let stores = Stores::none().with(Arc::clone(&kms) as _);
    let cache = CredentialCache::new(stores, Arc::clone(&clock) as _, CacheSettings::default());
    let env = Variables::of(&[("KEYTURN_SALT_KEYS", "1:vault:transit/salt#KEY 2:sk-salt-key-of-version-2")]);
    (kms, clock, SealedValues::with(SaltKeys::over(env, cache)))
}

#[tokio::test]
async fn a_salt_key_in_another_store_is_read_once_for_all_values() {
    let (kms, _, store) = enveloped(Ok(r#"{"KEY": "sk-salt-key-of-version-1"}"#));
    for number in 0..5 {
        let text = format!("sk-{number}");
        assert_eq!(value(&store, &sealed(&text, &salt_key(1, FIRST))).await.unwrap(), text);
    }
    assert_eq!(value(&store, &sealed("two", &salt_key(2, SECOND))).await.unwrap(), "two");
    assert_eq!(kms.0.lock().unwrap().1, 1);
}

#[tokio::test]
async fn what_the_other_store_says_is_what_it_means_for_the_value() {
    let name = sealed("sk-one", &salt_key(1, FIRST));
    let reference = "vault:transit/salt";
    for (answer, kind) in [
        (SecretError::denied(reference, "HTTP 403"), "denied"),
        (SecretError::not_found(reference, "HTTP 404"), "denied"),
        (SecretError::malformed(reference, "not JSON"), "denied"),
        (SecretError::unavailable(reference, "HTTP 503"), "unavailable"),
    ] {
        let (kms, clock, store) = enveloped(Err(answer));
        let error = value(&store, &name).await.unwrap_err();
        let (found, words) = told(&error);
        assert_eq!(found, kind, "{error:?}");
        assert!(
            words.starts_with("version 1 of the salt key cannot be read: secret `vault:transit/salt"),
            "{words}"
        );
        // What has another salt key opens all the same; and what failed is tried again.
        assert_eq!(value(&store, &sealed("two", &salt_key(2, SECOND))).await.unwrap(), "two");
        kms.0.lock().unwrap().0 = Ok(r#"{"KEY": "sk-salt-key-of-version-1"}"#);
        clock.advance(std::time::Duration::from_secs(60));
        assert_eq!(value(&store, &name).await.unwrap(), "sk-one");
    }
}

#[tokio::test]
async fn a_variable_that_is_sealed_is_opened_and_a_salt_key_is_not() {
    let text = |value: &str| format!("sealed:{}", sealed(value, &salt_key(1, FIRST)));
    let variables = Variables::of(&[
        ("KEYTURN_SALT_KEY", "env:SALT"),
        ("SALT", FIRST),
        ("OPENAI_API_KEY", &text("sk-openai")),
        ("DOCUMENT", &text(r#"{"A": "sk-a"}"#)),
        ("PLAIN", "sealed-letter"),
    ]);
    let found = found(&variables);
    let stores = Stores::new(Arc::clone(&found.env), &found.http, Arc::clone(&found.clock));
    let cache = CredentialCache::new(stores, Arc::new(SystemClock), CacheSettings::default());
    for (reference, expected) in
        [("env:OPENAI_API_KEY", "sk-openai"), ("env:DOCUMENT#A", "sk-a"), ("env:PLAIN", "sealed-letter")]
    {
        assert_eq!(cache.get(&reference.parse().unwrap()).await.unwrap().value.expose(), expected);
    }
    let plain = Environment::new(Arc::clone(&found.env));
    assert!(value(&plain, "OPENAI_API_KEY").await.unwrap().starts_with("sealed:1."));
    // A salt key that is behind a sealed variable would need itself.
    variables.set("SALT", &text(FIRST));
    let error = value(&Environment::opening(&found), "OPENAI_API_KEY").await.unwrap_err();
    let SecretError::Denied { reference, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reference, "env:OPENAI_API_KEY");
}
