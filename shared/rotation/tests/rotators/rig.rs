//! What the tests stand on: rotators with an environment that is a map and a clock that stands still, and a server
//! that plays a service, with faults.
//!
//! - [`Rig::new`] gets the environment, from which `env:NAME` references are read; [`Rig::rotator`] opens a rotator by
//!   name with its settings; [`Rig::wrong`] tells what is wrong with settings.
//! - [`Asking`] is what [`Rotator::create`] is asked.
//! - [`Fake`] is the service: a function from [`Arrived`] to [`Reply`], with a queue of [`Fault`]s before it.
//! - [`faults`] holds one call to all that a service may do to it.

mod fake;

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::{Clock, Env, ManualClock};
use keyturn_rotation::settings::{Settings, SettingsError};
use keyturn_rotation::{Ask, Credential, Document, RotationError, Rotator, Tools, Unchanged, rotators};
use keyturn_secrets::{CacheSettings, CredentialCache, SecretValue, Stores};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

pub(crate) use fake::{Arrived, Fake, Fault, Reply};

/// What the names of the secret's credentials begin with.
pub(crate) const PREFIX: &str = "keyturn-0a1b2c3d-";
/// A rotation's token.
pub(crate) const TOKEN: &str = "7b1f2c3d-0000-4000-8000-00000000000a";
/// The administrator's credential, as `env:ADMIN`.
pub(crate) const ADMIN: &str = "admin-canary-4c1d8a52e07f";

/// Rotators and what they work with.
pub(crate) struct Rig {
    /// What they work with; its clock stands at 2026-03-04T05:06:07Z.
    pub(crate) tools: Tools,
}

impl Rig {
    /// With the administrator's credential in `env:ADMIN`, and further variables.
    pub(crate) fn new(more: &[(&str, &str)]) -> Self {
        let vars = more.iter().copied().chain([("ADMIN", ADMIN)]);
        let vars: std::collections::HashMap<String, String> =
            vars.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let env: Arc<dyn Env> = Arc::new(vars);
        let shared: Arc<dyn Clock> = Arc::new(ManualClock::at(time("2026-03-04T05:06:07Z")));
        let http = keyturn_http::client().expect("a client");
        let stores = Stores::new(Arc::clone(&env), &http, Arc::clone(&shared));
        let secrets = CredentialCache::new(stores, Arc::clone(&shared), CacheSettings::default());
        Self { tools: Tools { env, http, clock: shared, secrets, keys: None } }
    }

    /// Opens a rotator.
    pub(crate) fn open(&self, name: &str, settings: Value) -> Result<Box<dyn Rotator>, SettingsError> {
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        rotators::open(name, Settings::new(settings), &self.tools)
    }

    /// Opens a rotator whose settings are right.
    pub(crate) fn rotator(&self, name: &str, settings: Value) -> Box<dyn Rotator> {
        self.open(name, settings).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// What is wrong with settings.
    pub(crate) fn wrong(&self, name: &str, settings: Value) -> String {
        match self.open(name, settings) {
            Ok(_) => panic!("{name} takes these settings"),
            Err(wrong) => wrong.to_string(),
        }
    }

    /// Each of the `required` settings must be there, and no other may be.
    pub(crate) fn hold_to_settings(&self, name: &str, complete: &Value, required: &[&str]) {
        self.rotator(name, complete.clone());
        for setting in required {
            let mut some = complete.clone();
            some.as_object_mut().expect("an object").remove(*setting);
            assert_eq!(self.wrong(name, some), format!("keyturn:{setting} is required"));
        }
        let mut more = complete.clone();
        more["no_such_setting"] = json!("sk-in-the-wrong-place");
        assert_eq!(self.wrong(name, more), "keyturn:no_such_setting is no setting of this rotator");
    }
}

/// Nobody else rotates the secret.
struct Alone;

#[async_trait]
impl Unchanged for Alone {
    async fn confirm(&self) -> Result<(), RotationError> {
        Ok(())
    }
}

/// What a rotator is asked to create a credential from.
pub(crate) struct Asking {
    /// The rotation's token.
    pub(crate) token: String,
    /// The field that the credential is in.
    pub(crate) field: Option<String>,
    /// The current credential.
    pub(crate) current: Credential,
    /// The whole secret.
    pub(crate) document: Document,
    /// The time.
    pub(crate) now: Timestamp,
}

impl Asking {
    /// A secret that is one text.
    pub(crate) fn of(rig: &Rig, current: &str) -> Self {
        Self {
            token: TOKEN.to_owned(),
            field: None,
            current: Credential::of(current.into()),
            document: document(current),
            now: rig.tools.now(),
        }
    }

    /// The question.
    pub(crate) fn ask(&self) -> Ask<'_> {
        Ask {
            prefix: PREFIX,
            name: format!("{PREFIX}{}", self.token),
            token: &self.token,
            field: self.field.as_deref(),
            current: &self.current,
            document: &self.document,
            now: self.now,
            unchanged: &Alone,
        }
    }
}

/// Settings, with more of them or others in their place.
pub(crate) fn with(mut settings: Value, more: &Value) -> Value {
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

/// A secret's value, read.
pub(crate) fn document(text: &str) -> Document {
    Document::parse(&SecretValue::from(text.to_owned())).expect("a document")
}

/// A time.
pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// A credential's value.
pub(crate) fn value(credential: &Credential) -> String {
    credential.value().expect("a value").expose_secret().to_owned()
}

/// A credential of one value.
pub(crate) fn credential(value: &str) -> Credential {
    Credential::of(SecretString::from(value))
}

/// With whose credential a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The administrator's.
    Admin,
    /// The one that is tried.
    Tested,
}

/// Holds a call to all that a service may do to it: every answer has its error, and none repeats a secret. `reads`:
/// the call needs what a success says. All requests of the call go wrong alike.
pub(crate) async fn faults<T>(
    fake: &Fake,
    by: By,
    reads: bool,
    secrets: &[&str],
    call: impl AsyncFn() -> Result<T, RotationError>,
) {
    use Fault::{Cut, Empty, Garbage, Status};
    let mut cases = vec![
        (Status(401), "refused"),
        (Status(403), "refused"),
        (Status(408), "unavailable"),
        (Status(429), "unavailable"),
        (Status(500), "unavailable"),
        (Status(503), "unavailable"),
        (Status(302), "malformed"),
        (Status(400), "unfit"),
        (Status(422), "unfit"),
        (Cut, "unavailable"),
    ];
    if reads {
        cases.extend([(Garbage, "malformed"), (Empty, "malformed")]);
    }
    for (fault, expected) in cases {
        fake.always(Some(fault.clone()));
        let error = call().await.err().unwrap_or_else(|| panic!("{fault:?} is taken for a success"));
        fake.always(None);
        let kind = match &error {
            RotationError::Denied(_) if by == By::Admin => "refused",
            RotationError::Refused(_) if by == By::Tested => "refused",
            RotationError::Unavailable(_) => "unavailable",
            RotationError::Malformed(_) => "malformed",
            RotationError::Unfit(_) => "unfit",
            _ => "something else",
        };
        assert_eq!(kind, expected, "{fault:?}: {error:?}");
        tells_nothing(&error, secrets);
    }
}

/// No secret is in an error, however it is shown.
pub(crate) fn tells_nothing(error: &RotationError, secrets: &[&str]) {
    let mut told = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        told = format!("{told} {error} {error:?}");
        source = error.source();
    }
    for secret in secrets {
        assert!(!told.contains(secret), "a secret is in an error");
    }
}
