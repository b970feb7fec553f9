//! `random`: a value that nobody issues: a webhook's token, a signing secret.
//!
//! **Strategy.** A random text, made here as Secrets Manager's `GetRandomPassword` makes it. There is nothing to set
//! and nothing to take back: whoever checks the value must accept the previous version too until the overlap has
//! passed.
//!
//! | setting | meaning | default |
//! |---|---|---|
//! | `length` | how many random characters, 8 to 4,096 | 32 |
//! | `prefix` | what the value begins with, before them | |
//! | `exclude_characters` | characters that do not occur among them | |
//! | `exclude_lowercase`, `exclude_uppercase`, `exclude_numbers`, `exclude_punctuation` | leaves out a kind | `false` |
//! | `include_space` | whether a space may occur | `false` |
//! | `require_each_included_type` | whether every kind that is not left out occurs | `true` |
//! | `test_url` | what is asked whether it accepts the value, with `GET`: any 2xx | nothing is asked |
//! | `test_header` | the header that the value is shown in; `authorization` has it as a bearer token | `authorization` |
//!
//! **Needs** no permission.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetRandomPassword.html>

use async_trait::async_trait;
use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::http_calls::{By, Calling as _, Service};
use crate::settings::{OURS, Settings, SettingsError, flag, optional_number};
use crate::{Ask, Created, Credential, RotationError, Rotator, Tools};

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// `GetRandomPassword`'s own default and most characters.
const USUAL_LENGTH: usize = 32;
const MOST_CHARACTERS: usize = 4_096;
/// Below it a value could be guessed.
const FEWEST_CHARACTERS: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(default, deserialize_with = "optional_number")]
    length: Option<usize>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    exclude_characters: String,
    #[serde(default, deserialize_with = "flag")]
    exclude_lowercase: bool,
    #[serde(default, deserialize_with = "flag")]
    exclude_uppercase: bool,
    #[serde(default, deserialize_with = "flag")]
    exclude_numbers: bool,
    #[serde(default, deserialize_with = "flag")]
    exclude_punctuation: bool,
    #[serde(default, deserialize_with = "flag")]
    include_space: bool,
    #[serde(default = "yes", deserialize_with = "flag")]
    require_each_included_type: bool,
    test_url: Option<String>,
    test_header: Option<String>,
}

fn yes() -> bool {
    true
}

struct Random {
    prefix: String,
    length: usize,
    /// The characters of each kind that may occur.
    kinds: Vec<Vec<u8>>,
    /// Whether each kind must occur.
    all_kinds: bool,
    /// Who is asked, and the header.
    tested_at: Option<(Service, HeaderName)>,
}

pub(super) fn open(settings: Settings, tools: &Tools) -> Result<Box<dyn Rotator>, SettingsError> {
    let own: Own = settings.read()?;
    let wrong = |name: &str, problem: &str| SettingsError::new(format!("{OURS}{name}"), problem);
    let length = own.length.unwrap_or(USUAL_LENGTH);
    if !(FEWEST_CHARACTERS..=MOST_CHARACTERS).contains(&length) {
        return Err(wrong("length", "must be from 8 to 4096"));
    }
    let kinds = [
        (!own.exclude_lowercase, LOWERCASE),
        (!own.exclude_uppercase, UPPERCASE),
        (!own.exclude_numbers, NUMBERS),
        (!own.exclude_punctuation, PUNCTUATION),
        (own.include_space, " "),
    ];
    let kinds = kinds.into_iter().filter(|(included, _)| *included).map(|(_, kind)| {
        let stays = |character: &u8| !own.exclude_characters.as_bytes().contains(character);
        kind.bytes().filter(stays).collect::<Vec<_>>()
    });
    let kinds: Vec<Vec<u8>> = kinds.filter(|kind| !kind.is_empty()).collect();
    // A single character would always make the same value.
    if kinds.iter().map(Vec::len).sum::<usize>() < 2 {
        return Err(wrong("exclude_characters", "leaves fewer than two characters to choose from"));
    }
    let header = match own.test_header {
        None => http::header::AUTHORIZATION,
        Some(_) if own.test_url.is_none() => return Err(wrong("test_header", "needs test_url")),
        Some(name) => {
            HeaderName::try_from(name).map_err(|_| wrong("test_header", "is not the name of a header"))?
        }
    };
    let tested_at = match own.test_url {
        None => None,
        Some(url) => Some((Service::open(tools, "test_url", Some(&url), "")?, header)),
    };
    let all_kinds = own.require_each_included_type;
    Ok(Box::new(Random { prefix: own.prefix, length, kinds, all_kinds, tested_at }))
}

#[async_trait]
impl Rotator for Random {
    async fn create(&self, _: &Ask<'_>) -> Result<Created, RotationError> {
        Ok(Credential::of(self.make()?).into())
    }

    /// The current value may be one that a person chose: no form is asked of it, only that it is there.
    async fn test(&self, credential: &Credential) -> Result<(), RotationError> {
        let value = credential.value()?;
        let Some((service, header)) = &self.tested_at else { return Ok(()) };
        let call = service.get(By::Tested, &[]);
        let call = if *header == http::header::AUTHORIZATION {
            call.bearer(value)
        } else {
            call.put_secret(header.clone(), value.expose_secret()).hiding(value)
        };
        call.done().await
    }
}

impl Random {
    fn make(&self) -> Result<SecretString, RotationError> {
        let all: Vec<u8> = self.kinds.iter().flatten().copied().collect();
        // Values that lack a kind are thrown away rather than mended: so all that have every kind are equally likely.
        loop {
            let mut value = Zeroizing::new(String::with_capacity(self.prefix.len() + self.length));
            value.push_str(&self.prefix);
            for _ in 0..self.length {
                value.push(char::from(pick(&all)?));
            }
            let random = &value.as_bytes()[self.prefix.len()..];
            let has = |kind: &Vec<u8>| random.iter().any(|character| kind.contains(character));
            if !self.all_kinds || self.kinds.iter().all(has) {
                return Ok(SecretString::from(value.as_str()));
            }
        }
    }
}

/// One of at most 95 characters, each as likely as the others.
fn pick(from: &[u8]) -> Result<u8, RotationError> {
    // The largest multiple of their number that a byte can be below: what is above it would favour the first ones.
    let even = 256 - 256 % from.len().max(1);
    let mut byte = [0];
    loop {
        getrandom::fill(&mut byte).map_err(|_| RotationError::Unavailable("no random bytes".to_owned()))?;
        let number = usize::from(byte[0]);
        if let Some(character) = from.get(number % from.len().max(1)).filter(|_| number < even) {
            return Ok(*character);
        }
    }
}
