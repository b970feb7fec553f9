use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use keyturn_ambient::SystemClock;
use keyturn_secrets::stores::Surroundings;

use super::*;
use crate::first_run::master_key;

const ONE: (&str, &str) = ("KEYTURN_SALT_KEYS", "1:sk-salt-key-of-version-1");
const BOTH: (&str, &str) = ("KEYTURN_SALT_KEYS", "2:sk-salt-key-of-version-2 1:sk-salt-key-of-version-1");

fn keys(variables: &[(&str, &str)]) -> SaltKeys {
    let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let env: HashMap<String, String> = pairs.collect();
    let http = keyturn_http::client().unwrap();
    SaltKeys::new(&Surroundings { env: Arc::new(env), http, clock: Arc::new(SystemClock) })
}

async fn chest(variables: &[(&str, &str)]) -> Chest {
    Chest::new(keys(variables)).await.unwrap()
}

#[tokio::test]
async fn a_master_key_stays_the_same_whatever_it_is_sealed_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master-key");
    let mut first: Option<String> = None;
    for (variables, begins) in [
        (&[][..], "sk-"),
        (&[ONE], "sealed:1."),
        (&[ONE], "sealed:1."),
        (&[BOTH], "sealed:2."),
        (&[("KEYTURN_SALT_KEYS", "2:sk-salt-key-of-version-2")], "sealed:2."),
    ] {
        let key = master_key(directory.path(), &chest(variables).await).await.unwrap();
        let key = key.expose_secret().to_owned();
        assert_eq!(*first.get_or_insert(key.clone()), key, "{variables:?}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(begins) && text.ends_with('\n'), "{variables:?}: {text}");
        assert_eq!(opened(text.trim(), &keys(variables)).await.unwrap().expose_secret(), key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{variables:?}");
    }
    // Without the salt key it is neither opened nor made anew.
    let sealed = fs::read(&path).unwrap();
    for variables in [&[][..], &[ONE], &[("KEYTURN_SALT_KEYS", "2:sk-another-key-of-version-2")]] {
        let error = master_key(directory.path(), &chest(variables).await).await.unwrap_err();
        assert!(matches!(&error, Error::Sealed { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), sealed);
    }
}

#[tokio::test]
async fn a_first_key_is_sealed_from_its_first_line() {
    let directory = tempfile::tempdir().unwrap();
    let key = master_key(directory.path(), &chest(&[ONE]).await).await.unwrap();
    let text = fs::read_to_string(directory.path().join("master-key")).unwrap();
    assert!(text.starts_with("sealed:1.") && !text.contains(key.expose_secret()), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test]
async fn of_many_first_starts_one_writes_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let chest = chest(&[ONE]).await;
    for round in 0..100 {
        let path = directory.path().join(format!("key-{round}"));
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|threads| {
            for number in 0..8 {
                let (chest, path, start) = (&chest, &path, &start);
                threads.spawn(move || {
                    start.wait();
                    chest.write(path, &SecretString::from(format!("sk-{number}"))).unwrap();
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1, "round {round}");
    }
}

#[tokio::test]
async fn a_weak_salt_key_of_litellms_is_left_alone_and_one_of_ours_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let weak = chest(&[("LITELLM_SALT_KEY", "sk-1234")]).await;
    master_key(directory.path(), &weak).await.unwrap();
    assert!(fs::read_to_string(directory.path().join("master-key")).unwrap().starts_with("sk-"));
    let error = Chest::new(keys(&[("KEYTURN_SALT_KEY", "sk-1234")])).await.err();
    assert!(matches!(&error, Some(Error::SaltKey(SaltKeyError::Weak { .. }))));
}
