use super::*;

fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

fn key(number: u32, text: &str) -> SaltKey {
    SaltKey::new(version(number), text.into()).unwrap()
}

const FIRST: &str = "sk-salt-key-of-version-1";
const SECOND: &str = "sk-salt-key-of-version-2";
const VALUE: &str = "sk-canary-value-é🔑";

/// Written by another implementation of the format (Python's `cryptography` 50), with the random numbers of [`fixed`].
/// They must never change: values like them stand in people's files.
const GOLDEN: [(u32, &str, &str, &str); 2] = [
    (
        1,
        FIRST,
        VALUE,
        "sealed:1.ASAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_QEFCQ0RFRkdISUpL0e5sNTnynhe7a8nxllmozspgL3QT0eGUP3FZ\
         ZqkglO2UEGWZhg8rzm6dzZZUAJ7FUFFSU1RVVldYWVpb4UwbF4U-2JQlm0sEoZTm-CCGDXS24PMA60CqIs2qyw63JIG_5yY",
    ),
    (
        42,
        "a3f1c29e77b04d5586e1f0a9c4b2d8e6",
        "",
        "sealed:42.ASAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4_QEFCQ0RFRkdISUpLR-x2qKidJt8dyOYCG145fBMMv13KjV9nX3FH\
         lIHs3cns1oRYLHvEpgSYuRlz2d90UFFSU1RVVldYWVpbeUaxD3bsKVpZnAm45LOdwA",
    ),
];

/// Sealed with these bytes in the place of random ones: the data key, the salt, the nonces.
fn fixed(value: &str, key: &SaltKey) -> Sealed {
    let from = |first: u8| move |at: usize| first + u8::try_from(at).unwrap();
    let (data_key, salt) = (std::array::from_fn(from(0)), std::array::from_fn(from(32)));
    let (key_nonce, nonce) = (std::array::from_fn(from(64)), std::array::from_fn(from(80)));
    seal_with(&value.into(), key, &data_key, &salt, key_nonce, nonce).unwrap()
}

#[test]
fn the_format_stays_what_it_is() {
    for (number, salt_key, value, text) in GOLDEN {
        let key = key(number, salt_key);
        let sealed: Sealed = text.parse().unwrap();
        assert_eq!((sealed.version(), sealed.to_string()), (version(number), text.to_owned()));
        assert_eq!(sealed.open(&key).unwrap().expose_secret(), value);
        assert_eq!(fixed(value, &key).to_string(), text);
    }
}

#[test]
fn any_text_is_sealed_and_opened() {
    let key = key(1, FIRST);
    for value in ["", "x", VALUE, "two\nlines\0", &"é".repeat(100_000)] {
        let sealed = Sealed::seal(&value.into(), &key).unwrap();
        let again: Sealed = sealed.to_string().parse().unwrap();
        assert_eq!(again, sealed);
        assert_eq!(again.open(&key).unwrap().expose_secret(), value);
    }
}

#[test]
fn a_value_is_never_sealed_alike_twice() {
    let key = key(1, FIRST);
    let [one, two] = [(); 2].map(|()| Sealed::seal(&VALUE.into(), &key).unwrap());
    assert_ne!(one.wrapped.salt, two.wrapped.salt);
    assert_ne!(one.wrapped.nonce, two.wrapped.nonce);
    assert_ne!(one.wrapped.key, two.wrapped.key);
    assert_ne!(one.nonce, two.nonce);
    assert_ne!(one.value, two.value);
}

#[test]
fn no_bit_can_be_another() {
    let key = key(1, FIRST);
    let text = fixed(VALUE, &key).to_string();
    let encoded = text.strip_prefix("sealed:1.").unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(encoded).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let parsed: Result<Sealed, SealError> = format!("sealed:1.{}", URL_SAFE_NO_PAD.encode(bytes)).parse();
        match parsed {
            Err(error) => assert!(bit < 8 && matches!(error, SealError::Format(_)), "bit {bit}: {error}"),
            Ok(sealed) => {
                assert_eq!(sealed.open(&key).err(), Some(SealError::Changed(version(1))), "bit {bit}");
            }
        }
    }
}

#[test]
fn no_character_can_be_another_and_none_can_be_missing() {
    let key = key(1, FIRST);
    let text = fixed(VALUE, &key).to_string();
    let opens = |text: &str| text.parse::<Sealed>().is_ok_and(|sealed| sealed.open(&key).is_ok());
    assert!(opens(&text));
    for at in 0..text.len() {
        for other in ["A", "b", "0", "-", "_", "=", " ", ".", ""] {
            let mut changed = text.clone();
            changed.replace_range(at..=at, other);
            assert!(changed == text || !opens(&changed), "{other:?} at {at}");
        }
        assert!(!opens(&text[..at]), "cut short at {at}");
    }
    for other in [format!("{text}A"), format!("{text}="), format!(" {text}"), format!("{text}\n")] {
        assert!(!opens(&other), "{other:?}");
    }
}

#[test]
fn the_version_is_part_of_it() {
    let text = fixed(VALUE, &key(1, FIRST)).to_string();
    let sealed: Sealed = text.parse().unwrap();
    assert_eq!(sealed.open(&key(2, FIRST)).err(), Some(SealError::Version(version(1))));
    // Nor does the same salt key under another number open it.
    let renamed: Sealed = text.replacen("sealed:1.", "sealed:2.", 1).parse().unwrap();
    assert_eq!(renamed.open(&key(2, FIRST)).err(), Some(SealError::Changed(version(2))));
    assert_eq!(sealed.open(&key(1, SECOND)).err(), Some(SealError::Changed(version(1))));
    for other in ["0", "01", "+1", "", "-1", "4294967296", "1 "] {
        let parsed: Result<Sealed, SealError> =
            text.replacen("sealed:1.", &format!("sealed:{other}."), 1).parse();
        assert_eq!(parsed.err(), Some(SealError::Form), "{other:?}");
    }
}

#[test]
fn parts_of_two_values_make_no_third() {
    let key = key(1, FIRST);
    let [one, two] = ["one", "two"].map(|value| Sealed::seal(&value.into(), &key).unwrap());
    for mixed in [
        Sealed { wrapped: two.wrapped.clone(), ..one.clone() },
        Sealed { nonce: two.nonce, ..one.clone() },
        Sealed { value: two.value.clone(), ..one.clone() },
        Sealed { value: two.value.clone(), nonce: two.nonce, ..one.clone() },
    ] {
        assert_eq!(mixed.open(&key).err(), Some(SealError::Changed(version(1))));
    }
}

#[test]
fn only_the_wrapped_data_key_is_another_after_a_change_of_the_salt_key() {
    let (old, new) = (key(1, FIRST), key(2, SECOND));
    let sealed = Sealed::seal(&VALUE.into(), &old).unwrap();
    let again = sealed.rewrap(&old, &new).unwrap();
    assert_eq!((&again.nonce, &again.value), (&sealed.nonce, &sealed.value));
    assert_ne!(again.wrapped, sealed.wrapped);
    assert_eq!(again.version(), version(2));
    assert_eq!(again.open(&new).unwrap().expose_secret(), VALUE);
    assert_eq!(again.open(&old).err(), Some(SealError::Version(version(2))));
    assert_eq!(sealed.rewrap(&new, &old).err(), Some(SealError::Version(version(1))));
    let wrong = key(1, SECOND);
    assert_eq!(sealed.rewrap(&wrong, &new).err(), Some(SealError::Changed(version(1))));
}

#[test]
fn a_later_format_is_told_apart_from_damage() {
    let bytes = [2_u8; 200];
    let later = format!("sealed:1.{}", URL_SAFE_NO_PAD.encode(bytes));
    assert_eq!(later.parse::<Sealed>().err(), Some(SealError::Format(2)));
    for text in ["", "sealed:", "sealed:1", "sealed:1.", "sealed:1.AQ", "seal:1.AQ", VALUE] {
        assert_eq!(text.parse::<Sealed>().err(), Some(SealError::Form), "{text}");
    }
}

#[test]
fn a_salt_key_that_can_be_guessed_is_refused() {
    for weak in
        ["", "sk-1234", "short-but-various1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ababababcdcdcdcdefefefefe"]
    {
        assert_eq!(SaltKey::new(version(1), weak.into()).err(), Some(Weak), "{weak}");
    }
    for strong in [FIRST, "sk-0123456789abcdefg", "a3f1c29e77b04d5586e1f0a9c4b2d8e6"] {
        assert!(SaltKey::new(version(1), strong.into()).is_ok(), "{strong}");
    }
}

#[test]
fn nothing_is_shown_of_a_salt_key_or_a_value() {
    let salt_key = key(1, FIRST);
    let sealed = Sealed::seal(&VALUE.into(), &salt_key).unwrap();
    let opened = sealed.open(&salt_key).unwrap();
    let wrong = sealed.open(&key(1, SECOND)).unwrap_err();
    let shown = format!("{salt_key:?} {sealed:?} {sealed} {opened:?} {wrong} {wrong:?}");
    assert!(!shown.contains("salt-key") && !shown.contains("canary"), "{shown}");
    let decimal = format!("{:?}", VALUE.as_bytes());
    assert!(!shown.contains(decimal.trim_matches(['[', ']'])), "{shown}");
}
