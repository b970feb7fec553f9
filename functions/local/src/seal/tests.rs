use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use keyturn_ambient::SystemClock;
use keyturn_sealed::SaltKey;
use secrecy::ExposeSecret;

use super::*;

const ONE: &str = "1:sk-salt-key-of-version-1";
const BOTH: &str = "2:sk-salt-key-of-version-2 1:sk-salt-key-of-version-1";
const VALUES: [&str; 3] = ["sk-canary-one", "sk-canary-two", "sk-canary-three"];

fn keys(salt_keys: &str) -> SaltKeys {
    let env = HashMap::from([("KEYTURN_SALT_KEYS".to_owned(), salt_keys.to_owned())]);
    let http = keyturn_http::client().unwrap();
    SaltKeys::new(&Surroundings { env: Arc::new(env), http, clock: Arc::new(SystemClock) })
}

fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

fn sealed(value: &str, number: u32) -> String {
    let key = SaltKey::new(version(number), format!("sk-salt-key-of-version-{number}").into()).unwrap();
    Sealed::seal(&value.into(), &key).unwrap().to_string()
}

/// A file with three sealed values, and other things around them.
fn config(versions: [u32; 3]) -> String {
    let [one, two, three] = [0, 1, 2].map(|at| sealed(VALUES[at], versions[at]));
    format!("# é\na: {one}\nb: \"{two}#FIELD\"\r\nc: [{three}]\nplain: sk-canary-plain\nno: unsealed:1.x")
}

async fn opened(text: &str, keys: &SaltKeys) -> Vec<String> {
    let mut values = Vec::new();
    for range in keyturn_sealed::find(text) {
        values.push(keys.open(&text[range]).await.unwrap().expose_secret().to_owned());
    }
    values
}

/// What is left of a text without its sealed values.
fn around(text: &str) -> String {
    let mut rest = text.to_owned();
    let found: Vec<_> = keyturn_sealed::find(text).collect();
    found.into_iter().rev().for_each(|range| rest.replace_range(range, "*"));
    rest
}

#[tokio::test]
async fn what_is_read_is_sealed_with_the_first_salt_key() {
    for (text, value) in
        [("sk-one", "sk-one"), ("sk-one\r\n\n", "sk-one"), (" two\nlines \n", " two\nlines ")]
    {
        let sealed = seal(&mut text.as_bytes(), &keys(BOTH)).await.unwrap();
        assert_eq!(sealed.version(), version(2));
        assert_eq!(keys(BOTH).open(&sealed.to_string()).await.unwrap().expose_secret(), value);
    }
    let error = |text: &'static [u8]| async move { seal(&mut &*text, &keys(BOTH)).await.unwrap_err() };
    assert!(matches!(error(b"\n").await, SealCommandError::Nothing));
    assert!(matches!(error(b"\xff").await, SealCommandError::StandardInput(_)));
    let again = seal(&mut sealed("x", 1).as_bytes(), &keys(BOTH)).await;
    assert!(matches!(again.unwrap_err(), SealCommandError::Sealed));
    let none = seal(&mut &b"x"[..], &keys("")).await.unwrap_err();
    assert_eq!(none.to_string(), "KEYTURN_SALT_KEY is not set");
}

#[tokio::test]
async fn every_value_of_a_file_is_brought_to_the_newest_version() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("config.yaml"), directory.path().join("link.yaml"));
    let before = config([1, 2, 1]);
    fs::write(&path, &before).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    symlink("config.yaml", &link).unwrap();
    let done = rewrap(&link, &keys(BOTH)).await.unwrap();
    assert_eq!(done, Rewrapped { to: version(2), changed: Counts::from([(version(1), 2)]), already: 1 });
    let after = fs::read_to_string(&path).unwrap();
    assert_eq!(around(&after), around(&before));
    assert_eq!(opened(&after, &keys("2:sk-salt-key-of-version-2")).await, VALUES);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "something is left beside the file");
    let again = rewrap(&path, &keys(BOTH)).await.unwrap();
    assert_eq!((again.changed.len(), again.already), (0, 3));
    assert_eq!(fs::read_to_string(&path).unwrap(), after, "what has the newest version stays");
}

#[tokio::test]
async fn a_file_stays_as_it_is_if_one_value_cannot_be_brought_along() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let foreign = format!("{}\nlast: {}", config([1, 1, 1]), sealed("x", 3));
    let damaged = format!("{}\nlast: sealed:1.AQ", config([1, 1, 1]));
    for text in [foreign, damaged] {
        fs::write(&path, &text).unwrap();
        let error = rewrap(&path, &keys(BOTH)).await.unwrap_err();
        assert!(matches!(&error, SealCommandError::Stuck { line: 7, .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let error = rewrap(&directory.path().join("none"), &keys(BOTH)).await.unwrap_err();
    assert!(matches!(error, SealCommandError::File { .. }), "{error:?}");
}

#[tokio::test]
async fn a_check_tells_versions_and_lines_and_no_value() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    let mut tampered = sealed("sk-canary-four", 1);
    let last = if tampered.ends_with('A') { "E" } else { "A" };
    tampered.replace_range(tampered.len() - 9..tampered.len() - 8, last);
    fs::write(&path, format!("{}\n{tampered}\nsealed:1.AQ\nsealed:1.Ag", config([1, 2, 1]))).unwrap();
    let report = check(&path, &keys(ONE)).await.unwrap();
    assert_eq!(report.open, Counts::from([(version(1), 2)]));
    let told: Vec<String> = report.closed.iter().map(|(line, error)| format!("{line}: {error}")).collect();
    assert_eq!(
        told,
        [
            "3: there is no version 2 of the salt key in KEYTURN_SALT_KEYS",
            "7: it does not open with version 1 of the salt key: either was changed",
            "8: it is not a sealed value: expected sealed:VERSION. and base64url",
            "9: it is sealed in format 2, which this program does not know",
        ]
    );
    let shown = format!("{report:?} {:?}", rewrap(&path, &keys(BOTH)).await);
    assert!(!shown.contains("canary") && !shown.contains("salt-key"), "{shown}");
}
