//! A secret's value is shown by nothing but `expose`.
#![cfg(test)]

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use keyturn_ambient::SystemClock;
use keyturn_config::SecretRef;
use keyturn_secrets::{CacheSettings, CredentialCache, Stores};

const CANARY: &str = "canary-4f1d9b";

fn cache() -> (CredentialCache, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
    write("whole", CANARY.to_owned());
    write("good.env", format!("KEY={CANARY}\n"));
    write("bad.env", format!("{CANARY}\n"));
    write("open.env", format!("KEY='{CANARY}\n"));
    write("bad.json", format!(r#"{{"KEY": "{CANARY}""#));
    write("deep.json", format!(r#"{{"KEY": {{"{CANARY}": "{CANARY}"}}}}"#));
    let env = HashMap::from([("KEY".to_owned(), CANARY.to_owned())]);
    let stores = Stores::new(Arc::new(env), &keyturn_http::client().unwrap());
    let cache = CredentialCache::new(stores, Arc::new(SystemClock), CacheSettings::default());
    (cache, directory)
}

#[tokio::test]
async fn no_debug_display_error_or_count_shows_a_value() {
    let (cache, directory) = cache();
    let at = |name: &str| format!("file:{}", directory.path().join(name).display());
    let good = ["env:KEY".to_owned(), at("whole"), at("good.env") + "#KEY"];
    let bad =
        ["env:KEY#X".to_owned(), at("good.env") + "#X", at("bad.env") + "#KEY", at("open.env") + "#KEY"];
    let worse = [at("bad.json") + "#KEY", at("deep.json") + "#KEY", at("deep.json") + "#X"];
    let mut shown = String::new();
    for text in &good {
        let reference: SecretRef = text.parse().unwrap();
        let secret = cache.get(&reference).await.unwrap();
        assert_eq!(secret.value.expose(), CANARY);
        write!(shown, "{secret:?} {secret:#?} {:?} {}", secret.value, secret.version).unwrap();
        write!(shown, "{:?}", cache.refused(&reference, &secret.version).await).unwrap();
        write!(shown, "{:?}", cache.previous(&reference).await).unwrap();
    }
    for text in bad.iter().chain(&worse) {
        let error = cache.get(&text.parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        write!(shown, "{error} {error:?} {error:#?} {}", error.source().unwrap()).unwrap();
    }
    write!(shown, "{cache:?} {cache:#?} {:?}", cache.stats()).unwrap();
    assert!(shown.contains("[redacted]"));
    assert!(!shown.contains(CANARY), "{shown}");
    // Nor encoded or in part.
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", CANARY.as_bytes());
    assert!(!shown.contains(&hex) && !shown.contains(decimal.trim_matches(['[', ']'])));
    assert!(!shown.contains("4f1d9b"));
}
