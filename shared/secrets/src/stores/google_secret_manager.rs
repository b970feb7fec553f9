//! Google Secret Manager: `google-secretmanager:prod-providers#OPENAI_API_KEY`.
//!
//! Authentication: `keyturn_identity::google` (`GOOGLE_APPLICATION_CREDENTIALS`, or the metadata server). LiteLLM's
//! `GCS_PATH_SERVICE_ACCOUNT`, a path or a JSON text, wins.
//!
//! Naming:
//!
//! | name | secret |
//! |---|---|
//! | `NAME` | of the project that `GOOGLE_SECRET_MANAGER_PROJECT_ID` names, else `GOOGLE_CLOUD_PROJECT`, else the credentials |
//! | `PROJECT/NAME`, `projects/PROJECT/secrets/NAME` | of another project |
//! | `projects/PROJECT/locations/LOCATION/secrets/NAME` | a regional secret, at its region's endpoint |
//!
//! The value is the payload, whose checksum is proved where it is there: a version that was added without one may have
//! none. It is read again once if the checksum is wrong.
//!
//! Versions: `7-…`, the number that Google gave, and a salted hash of the value, because a secret that is deleted and
//! made anew begins at 1 again. Stages: the current version is `latest` for us as for every other reader; the previous
//! one has the version alias `keyturn-previous`; the pending one is in a secret of its own ([`staged`]). `?stage=` may
//! also name a number, or any alias. A read is one call, of the API's largest quota.
//!
//! Permissions: `secretmanager.versions.access` (`roles/secretmanager.secretAccessor`). To write: see [`staged`].
//!
//! | variable | meaning |
//! |---|---|
//! | `GOOGLE_SECRET_MANAGER_PROJECT_ID`, `GOOGLE_CLOUD_PROJECT` | the project of a bare name |
//! | `GCS_PATH_SERVICE_ACCOUNT` | credentials, as LiteLLM takes them |
//! | `GOOGLE_SECRET_MANAGER_ENDPOINT` | another address for the API: https, or on this machine |
//! | `GOOGLE_SECRET_MANAGER_REFRESH_INTERVAL`, `GOOGLE_SECRET_MANAGER_ALWAYS_READ_SECRET_MANAGER` | nothing: they set the life in LiteLLM's own cache (a day; none). Ours has its own TTLs, which a rotation relies on |
//!
//! <https://cloud.google.com/secret-manager/docs/reference/rest>

mod calls;
mod staged;
mod state;

use async_trait::async_trait;
use keyturn_http::call::{Answer, Call, Service};
use keyturn_identity::google::Google;
use reqwest::Method;
use secrecy::SecretString;
use serde::Deserialize;

use super::google::{Client, FAILED_PRECONDITION, crc32c, decode, int64, status, text};
use super::{Surroundings, answers};
use crate::{Secret, SecretError, SecretStore, Stage, VersionId};

const ENDPOINT: &str = "GOOGLE_SECRET_MANAGER_ENDPOINT";
const CREDENTIALS: &str = "GCS_PATH_SERVICE_ACCOUNT";
const PROJECTS: [&str; 2] = ["GOOGLE_SECRET_MANAGER_PROJECT_ID", "GOOGLE_CLOUD_PROJECT"];

/// The alias of the previous version.
const PREVIOUS: &str = "keyturn-previous";
/// What the name of the secret for pending versions ends in.
const PENDING: &str = "--keyturn-pending";
/// The longest name of a secret, in characters.
const LONGEST_NAME: usize = 255;

/// Google Secret Manager as a store.
pub struct GoogleSecretManager(Client);

/// Where one secret is.
struct Place {
    service: Service,
    /// The segments of the path up to the secrets: `projects/P`, `projects/P/locations/L`.
    parent: Vec<String>,
    name: String,
    /// For errors.
    reference: String,
}

/// A version with its value. It has no `Debug`.
struct Accessed {
    number: u64,
    value: SecretString,
}

impl GoogleSecretManager {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "google-secretmanager";

    /// The store that the environment names. Nothing is asked or read before the first use.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let (env, http, clock) = (&found.env, &found.http, &found.clock);
        let google = match env.var(CREDENTIALS) {
            Some(given) => Google::given(&given.into(), CREDENTIALS, env, http, clock),
            None => Google::from_env(env, http, clock),
        };
        Self(Client::new(found, google, ENDPOINT))
    }

    fn now(&self) -> jiff::Timestamp {
        self.0.now()
    }

    async fn place(&self, name: &str) -> Result<Place, SecretError> {
        let place = self.parent(name).await?;
        // The name of its pending secret must be one too.
        let longest = LONGEST_NAME - PENDING.len();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if place.name.is_empty() || place.name.len() > longest || !place.name.bytes().all(fits) {
            let told = format!("a name has 1 to {longest} letters, digits, - and _");
            return Err(SecretError::not_found(place.reference, &told));
        }
        Ok(place)
    }

    /// Where the secrets are whose names begin like this. The name itself may be any.
    async fn parent(&self, name: &str) -> Result<Place, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        let segments: Vec<&str> = name.split('/').collect();
        let (project, location, name) = match *segments.as_slice() {
            [name] => (self.project(&reference).await?, None, name),
            [project, name] | ["projects", project, "secrets", name] => (project.to_owned(), None, name),
            ["projects", project, "locations", location, "secrets", name] => {
                (project.to_owned(), Some(location), name)
            }
            _ => {
                let told =
                    "expected NAME, PROJECT/NAME or projects/PROJECT[/locations/LOCATION]/secrets/NAME";
                return Err(SecretError::not_found(reference, told));
            }
        };
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // Projects of the early days are `example.com:project`.
        let is_project = |byte: u8| lower(byte) || byte == b'.' || byte == b':';
        let begins = project.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins || project == "projects" || !project.bytes().all(is_project) {
            return Err(SecretError::not_found(reference, "no project has such an id"));
        }
        let mut parent = vec!["projects".to_owned(), project];
        let usual = match location {
            None => "https://secretmanager.googleapis.com".to_owned(),
            Some(location) if !location.is_empty() && location.bytes().all(lower) => {
                parent.extend(["locations".to_owned(), location.to_owned()]);
                format!("https://secretmanager.{location}.rep.googleapis.com")
            }
            Some(_) => return Err(SecretError::not_found(reference, "no location has such a name")),
        };
        let service = self.0.service(&reference, &usual)?;
        Ok(Place { service, parent, name: name.to_owned(), reference })
    }

    async fn project(&self, reference: &str) -> Result<String, SecretError> {
        if let Some(project) = PROJECTS.into_iter().find_map(|name| self.0.var(name)) {
            return Ok(project);
        }
        let project = self.0.google().project().await;
        project.map_err(|error| answers::unidentified(reference, &error))?.ok_or_else(|| {
            SecretError::denied(
                reference,
                &format!("{} is not set, and the credentials name no project", PROJECTS[0]),
            )
        })
    }

    /// Makes a call that must succeed.
    async fn ask<'a>(&self, place: &Place, call: impl Fn() -> Call<'a>) -> Result<Answer, SecretError> {
        let answer = self.0.ask(&place.reference, call).await?;
        if answer.status().is_success() { Ok(answer) } else { Err(place.refusal(&answer)) }
    }

    /// Reads a version, by its number or an alias. A value that was damaged on its way is read once more.
    async fn access(&self, place: &Place, version: &str) -> Result<Accessed, SecretError> {
        let call = || place.call(Method::GET, &["versions", &format!("{version}:access")]);
        let first = place.accessed(&self.ask(place, call).await?)?;
        match first {
            Some(accessed) => Ok(accessed),
            None => place.accessed(&self.ask(place, call).await?)?.ok_or_else(|| {
                SecretError::unavailable(&*place.reference, "the value does not have its checksum")
            }),
        }
    }
}

impl Place {
    /// A call of the secret, or of something in it. A verb may follow the last segment.
    fn call(&self, method: Method, more: &[&str]) -> Call<'_> {
        self.call_as(method, &self.name, more)
    }

    fn call_as(&self, method: Method, name: &str, more: &[&str]) -> Call<'_> {
        let parent = self.parent.iter().map(String::as_str);
        let path: Vec<&str> =
            ["v1"].into_iter().chain(parent).chain(["secrets", name]).chain(more.iter().copied()).collect();
        self.service.call(method, &path)
    }

    /// The secret for what is pending in this one.
    fn pending(&self) -> Self {
        Self {
            service: self.service.clone(),
            parent: self.parent.clone(),
            name: format!("{}{PENDING}", self.name),
            reference: self.reference.clone(),
        }
    }

    fn refusal(&self, answer: &Answer) -> SecretError {
        if answer.status().as_u16() == 400 && status(answer).as_deref() == Some(FAILED_PRECONDITION) {
            return self.not_found("the version is disabled or destroyed");
        }
        match answer.status().as_u16() {
            // A 404 that is not the API's own is a proxy's, and says nothing of the secret.
            404 | 410 if status(answer).as_deref() != Some("NOT_FOUND") => {
                SecretError::unavailable(&*self.reference, &answer.told())
            }
            _ => answers::refusal(&self.reference, answer),
        }
    }

    /// What was read; `None` if the checksum is wrong.
    fn accessed(&self, answer: &Answer) -> Result<Option<Accessed>, SecretError> {
        #[derive(Deserialize)]
        struct Version {
            name: String,
            payload: Payload,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload {
            data: SecretString,
            #[serde(default, deserialize_with = "int64")]
            data_crc32c: Option<u64>,
        }
        let version: Version = answer.read().map_err(|error| self.malformed(&error.to_string()))?;
        let number = number(&version.name).ok_or_else(|| self.malformed("the version has no number"))?;
        let bytes = decode(&version.payload.data).ok_or_else(|| self.malformed("no base64"))?;
        if version.payload.data_crc32c.is_some_and(|crc| crc != u64::from(crc32c(&bytes))) {
            return Ok(None);
        }
        if bytes.is_empty() {
            return Err(self.malformed("empty"));
        }
        let value = text(&bytes).ok_or_else(|| self.malformed("not UTF-8"))?;
        Ok(Some(Accessed { number, value }))
    }

    fn not_found(&self, what: &str) -> SecretError {
        SecretError::not_found(&*self.reference, what)
    }

    fn malformed(&self, what: &str) -> SecretError {
        SecretError::malformed(&*self.reference, what)
    }
}

/// The number of a version, from its whole name.
fn number(name: &str) -> Option<u64> {
    name.rsplit_once("/versions/")?.1.parse().ok()
}

impl Accessed {
    /// The version as readers know it.
    fn secret(self) -> Secret {
        use secrecy::ExposeSecret as _;
        let hash = VersionId::of_value(self.value.expose_secret());
        Secret::new(self.value, VersionId::new(&format!("{}-{hash}", self.number)))
    }
}

#[async_trait]
impl SecretStore for GoogleSecretManager {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let place = self.place(name).await?;
        let version = match stage {
            Stage::Current => "latest",
            Stage::Previous => PREVIOUS,
            Stage::Pending => return self.pending_version(&place).await,
            Stage::Named(alias) => {
                let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                if !alias.bytes().all(fits) {
                    return Err(place.not_found("no version can have this alias"));
                }
                alias
            }
        };
        Ok(self.access(&place, version).await?.secret())
    }
}
