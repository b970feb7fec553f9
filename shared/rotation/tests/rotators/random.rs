//! `random`: values that nobody issues.

use std::collections::{BTreeMap, BTreeSet};

use keyturn_rotation::{RotationError, Rotator};
use serde_json::{Value, json};

use crate::rig::{Asking, By, Fake, Reply, Rig, credential, faults, value};

const NAME: &str = "random";
/// Whether a character may occur.
type Allowed = fn(char) -> bool;

const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

async fn make(rig: &Rig, rotator: &dyn Rotator) -> String {
    let made = rotator.create(&Asking::of(rig, "current").ask()).await.unwrap();
    assert!(made.fields.is_empty());
    value(&made.credential)
}

#[tokio::test]
async fn settings_must_fit() {
    let rig = Rig::new(&[]);
    rig.hold_to_settings(NAME, &json!({}), &[]);
    let only_digit = json!({
        "exclude_lowercase": "true", "exclude_uppercase": true, "exclude_punctuation": "true",
        "exclude_characters": "012345678",
    });
    for (settings, problem) in [
        (json!({"length": 7}), "length must be from 8 to 4096"),
        (json!({"length": "4097"}), "length must be from 8 to 4096"),
        (json!({"length": "many"}), "length is no whole number of the right size"),
        (json!({"length": -8}), "length is not of the right kind"),
        (json!({"exclude_numbers": "yes"}), "exclude_numbers is neither true nor false"),
        (json!({"test_url": "nowhere"}), "test_url is not the address of an HTTP service"),
        (json!({"test_header": "x-token"}), "test_header needs test_url"),
        (
            json!({"test_url": "http://a", "test_header": "x token"}),
            "test_header is not the name of a header",
        ),
        (only_digit, "exclude_characters leaves fewer than two characters to choose from"),
    ] {
        let told = rig.wrong(NAME, settings.clone());
        assert_eq!(told, format!("keyturn:{problem}"), "{settings}");
    }
}

#[tokio::test]
async fn values_are_made_as_secrets_manager_makes_them() {
    let rig = Rig::new(&[]);
    let cases: [(Value, usize, &str, Allowed); 5] = [
        (json!({}), 32, "", |c| c.is_ascii_alphanumeric() || PUNCTUATION.contains(c)),
        (json!({"length": "8", "prefix": "whsec_", "exclude_punctuation": "true"}), 14, "whsec_", |c| {
            c.is_ascii_alphanumeric() || c == '_'
        }),
        (
            json!({"length": 4096, "exclude_lowercase": true, "exclude_uppercase": true, "exclude_punctuation": true}),
            4096,
            "",
            |c| c.is_ascii_digit(),
        ),
        (json!({"exclude_characters": "abc\"\\é0"}), 32, "", |c| {
            !"abc\"\\0".contains(c) && c.is_ascii_graphic()
        }),
        (json!({"include_space": true, "length": 64}), 64, "", |c| c.is_ascii_graphic() || c == ' '),
    ];
    for (settings, length, prefix, allowed) in cases {
        let rotator = rig.rotator(NAME, settings.clone());
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            let made = make(&rig, &*rotator).await;
            assert_eq!(made.len(), length, "{settings}");
            assert!(made.starts_with(prefix) && made.chars().all(allowed), "{settings}: {made}");
            assert_eq!(made.contains(' '), settings["include_space"] == true, "every kind occurs");
            rotator.test(&credential(&made)).await.unwrap();
            assert!(seen.insert(made), "no value comes twice");
        }
    }
    // Every kind that may occur does, unless it need not.
    let kinds = |value: &str| {
        let has = |of: fn(&char) -> bool| value.chars().any(|c| of(&c));
        [
            has(char::is_ascii_lowercase),
            has(char::is_ascii_uppercase),
            has(char::is_ascii_digit),
            has(char::is_ascii_punctuation),
        ]
        .iter()
        .all(|has| *has)
    };
    let strict = rig.rotator(NAME, json!({"length": 8}));
    let loose = rig.rotator(NAME, json!({"length": 8, "require_each_included_type": "false"}));
    let mut incomplete = 0;
    for _ in 0..500 {
        assert!(kinds(&make(&rig, &*strict).await));
        incomplete += usize::from(!kinds(&make(&rig, &*loose).await));
    }
    // Eight of 94 characters lack a digit alone in two cases of five.
    assert!(incomplete > 50, "{incomplete}");
}

#[tokio::test]
async fn every_character_is_as_likely() {
    let rig = Rig::new(&[]);
    let all = rig.rotator(NAME, json!({"length": 4096, "require_each_included_type": false}));
    let mut counts: BTreeMap<char, u32> = BTreeMap::new();
    for _ in 0..23 {
        for character in make(&rig, &*all).await.chars() {
            *counts.entry(character).or_default() += 1;
        }
    }
    // 94,208 characters of 94: 1,002 of each on average, with a standard deviation of 32. Eight of those are never
    // seen; a remainder instead of a choice would favour some by a half.
    assert_eq!(counts.len(), 94);
    for (character, count) in counts {
        assert!((750..1_260).contains(&count), "{character}: {count}");
    }
}

#[tokio::test]
async fn a_value_can_be_shown_to_who_checks_it() {
    let fake = Fake::start(|arrived| {
        let right = arrived.what() == ("GET", "/hooks/check")
            && (arrived.bearer() == "canary-good" || arrived.header("x-token") == "canary-good");
        Reply::empty(if right { 204 } else { 401 })
    })
    .await;
    let rig = Rig::new(&[]);
    let url = format!("{}/hooks/check", fake.url());
    for settings in [json!({"test_url": url}), json!({"test_url": url, "test_header": "X-Token"})] {
        let rotator = rig.rotator(NAME, settings);
        rotator.test(&credential("canary-good")).await.unwrap();
        let bad = credential("canary-bad-1");
        assert!(matches!(rotator.test(&bad).await, Err(RotationError::Refused(_))));
        faults(&fake, By::Tested, false, &["canary-bad-1"], async || rotator.test(&bad).await).await;
    }
    // Nothing was issued, so nothing is taken back; and the value that a person chose is fine.
    let plain = rig.rotator(NAME, json!({}));
    assert!(plain.issued("keyturn-", &credential("a")).await.unwrap().is_empty());
    plain.test(&credential("hunter2")).await.unwrap();
    let missing = plain.test(&keyturn_rotation::Credential::default()).await.unwrap_err();
    assert!(matches!(missing, RotationError::Unfit(_)));
}
