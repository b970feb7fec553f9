//! The promises.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::{CacheSettings, CredentialCache, SecretError, SecretStore, Stage, Stores};

/// A way to fill a store.
#[async_trait]
pub(crate) trait Seed: Sync {
    /// Makes the secret `name` hold `value` now, and returns its name in references.
    async fn put(&self, name: &str, value: &str) -> String;

    /// Whether the store keeps the version before the current one.
    fn has_stages(&self) -> bool;

    /// The longest value that the store's service takes, in bytes, up to the most that Secrets Manager keeps.
    fn longest(&self) -> usize {
        64 * 1024
    }

    /// Whether the service says of what is not there that it is not, rather than that we may not have it.
    fn tells_absence(&self) -> bool {
        true
    }
}

/// Whether an error is what the service says of what is not there.
fn is_absence(error: &SecretError, seed: &dyn Seed) -> bool {
    match error {
        SecretError::NotFound { .. } => seed.tells_absence(),
        SecretError::Denied { .. } => !seed.tells_absence(),
        _ => false,
    }
}

/// Asks `store` for all of them.
pub(crate) async fn keeps_its_promises(store: Arc<dyn SecretStore>, seed: &dyn Seed) {
    reads(&*store, seed).await;
    misses(&*store, seed).await;
    versions(&*store, seed).await;
    stages(&*store, seed).await;
    any_text(&*store, seed).await;
    fields(Arc::clone(&store), seed).await;
    many(&*store, seed).await;
    at_once(&*store, seed).await;
}

async fn value(store: &dyn SecretStore, name: &str) -> String {
    store.get(name, &Stage::Current).await.unwrap().value.expose().to_owned()
}

pub(crate) async fn reads(store: &dyn SecretStore, seed: &dyn Seed) {
    let name = seed.put("plain", "sk-one").await;
    assert_eq!(value(store, &name).await, "sk-one");
}

async fn misses(store: &dyn SecretStore, seed: &dyn Seed) {
    // A name like the others, but nothing there.
    let name = seed.put("present", "x").await.replace("present", "absent");
    let error = store.get(&name, &Stage::Current).await.unwrap_err();
    assert!(is_absence(&error, seed), "{error:?}");
    assert!(error.to_string().contains(&format!("`{}:{name}`", store.scheme())), "{error}");
}

async fn versions(store: &dyn SecretStore, seed: &dyn Seed) {
    let name = seed.put("versions", "sk-one").await;
    let one = store.get(&name, &Stage::Current).await.unwrap();
    let again = store.get(&name, &Stage::Current).await.unwrap();
    assert_eq!(one.version, again.version);
    // As long as the first, and right after it.
    seed.put("versions", "sk-two").await;
    let two = store.get(&name, &Stage::Current).await.unwrap();
    assert_eq!(two.value.expose(), "sk-two");
    assert_ne!(one.version, two.version);
    assert!(!one.version.as_str().contains("sk-"));
}

pub(crate) async fn stages(store: &dyn SecretStore, seed: &dyn Seed) {
    let name = seed.put("stages", "one").await;
    let one = store.get(&name, &Stage::Current).await.unwrap();
    let error = store.get(&name, &Stage::Previous).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
    seed.put("stages", "two").await;
    let previous = store.get(&name, &Stage::Previous).await;
    if seed.has_stages() {
        let previous = previous.unwrap();
        assert_eq!((previous.value.expose(), previous.version), ("one", one.version));
    } else {
        assert!(matches!(previous, Err(SecretError::NotFound { .. })));
    }
    let error = store.get(&name, &Stage::Named("nonesuch".to_owned())).await.unwrap_err();
    assert!(matches!(error, SecretError::NotFound { .. }), "{error:?}");
}

pub(crate) async fn any_text(store: &dyn SecretStore, seed: &dyn Seed) {
    let name = seed.put("text", "schlüssel 🔑 \"'\\ $X\n=").await;
    assert_eq!(value(store, &name).await, "schlüssel 🔑 \"'\\ $X\n=");
    let long = "é".repeat(seed.longest() / 2);
    let name = seed.put("long", &long).await;
    assert_eq!(value(store, &name).await, long);
}

pub(crate) async fn fields(store: Arc<dyn SecretStore>, seed: &dyn Seed) {
    let scheme = store.scheme();
    let reference = |name: &str, field: &str| SecretRef {
        scheme: scheme.to_owned(),
        name: name.to_owned(),
        field: Some(field.to_owned()),
        stage: None,
    };
    let cache =
        CredentialCache::new(Stores::none().with(store), Arc::new(SystemClock), CacheSettings::default());
    let json = seed.put("json", r#"{"A": "sk-ä", "N": 12, "O": {}}"#).await;
    let lines = seed.put("lines", "# keys\nexport A=sk-1\nB=\"sk 2\"\n").await;
    for (name, field, expected) in
        [(&json, "A", "sk-ä"), (&json, "N", "12"), (&lines, "A", "sk-1"), (&lines, "B", "sk 2")]
    {
        assert_eq!(cache.get(&reference(name, field)).await.unwrap().value.expose(), expected);
    }
    for name in [&json, &lines] {
        let error = cache.get(&reference(name, "NOPE")).await.unwrap_err();
        let expected = format!("{scheme}:{name}#NOPE");
        assert!(matches!(&error, SecretError::NotFound { reference, .. } if *reference == expected));
    }
    let broken = seed.put("broken", r#"{"A": "#).await;
    for (name, field) in [(&json, "O"), (&broken, "A")] {
        let error = cache.get(&reference(name, field)).await.unwrap_err();
        assert!(matches!(error, SecretError::Malformed { .. }), "{error:?}");
    }
}

async fn many(store: &dyn SecretStore, seed: &dyn Seed) {
    let mut names = Vec::new();
    for number in 0..23 {
        names.push(seed.put(&format!("many{number}"), &format!("value{number}")).await);
    }
    // Also one whose value has changed, and one that is not there.
    seed.put("many7", "changed").await;
    let absent = names[0].replace("many0", "absent");
    let mut asked: Vec<&str> = names.iter().map(String::as_str).collect();
    asked.insert(5, &absent);
    let mut answers = store.get_many(&asked).await;
    assert_eq!(answers.len(), 24);
    assert!(is_absence(&answers.remove(5).unwrap_err(), seed));
    for (number, answer) in answers.into_iter().enumerate() {
        let expected = if number == 7 { "changed".to_owned() } else { format!("value{number}") };
        assert_eq!(answer.unwrap().value.expose(), expected);
    }
}

pub(crate) async fn at_once(store: &dyn SecretStore, seed: &dyn Seed) {
    let mut names = Vec::new();
    for number in 0..4 {
        names.push(seed.put(&format!("once{number}"), &format!("value{number}")).await);
    }
    let asks = (0..40).map(|ask| {
        let name = &names[ask % 4];
        async move { (ask % 4, value(store, name).await) }
    });
    for (number, value) in join_all(asks).await {
        assert_eq!(value, format!("value{number}"));
    }
}
