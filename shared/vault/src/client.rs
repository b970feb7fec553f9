//! Documents of a KV engine, version 2.

pub(crate) mod app_roles;
pub(crate) mod leases;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use keyturn_ambient::{Clock, Env};
use keyturn_http::Tls;
use serde_json::Value;
use vaultrs::api::kv2::requests::{ReadSecretRequest, SetSecretMetadataRequest, SetSecretRequestOptions};
use vaultrs::api::kv2::responses::SecretVersionMetadata;
use vaultrs::{api, kv2};

use crate::caller::{Server, answer, answer_of_list};
use crate::error::{Outage, SetupError, VaultError};
use crate::sessions::{Session, Sessions};
use crate::settings::{CA, CLIENT_CERT, CLIENT_KEY, VaultSettings, is_path};

/// How often a call is tried in all, when it failed in a way that may pass.
const TRIES: u32 = 3;

/// The wait before a call is tried again; twice as long before each further try, and spread, so that not everybody
/// comes back at once.
const PAUSE: Duration = Duration::from_millis(50);

/// A document as it was read. `Debug` shows its version only.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// The JSON object.
    pub data: Value,
    /// Which version of the document this is; the first is 1.
    pub version: u64,
    /// When this version was written, by the server's clock.
    pub created: Timestamp,
    /// What is noted beside the document, whatever its version: its custom metadata.
    pub notes: BTreeMap<String, String>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A version of a document that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which version it is.
    pub version: u64,
    /// When it was written, by the server's clock.
    pub created: Timestamp,
}

/// What is known of a document that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The newest version: the one that the next write is to follow. 0 = there was none yet.
    pub version: u64,
    /// What is noted beside the document.
    pub notes: BTreeMap<String, String>,
}

/// A Vault server, seen through one login. Making it connects to nothing. Clones share the login.
#[derive(Clone)]
pub struct Vault {
    sessions: Arc<Sessions>,
    mount: String,
    prefix: Option<String>,
}

impl Vault {
    /// The server that the environment names. `http` is used for it, unless it has roots of its own or asks for a
    /// client certificate.
    ///
    /// # Errors
    ///
    /// [`SetupError`] names the variable, or the file it names.
    pub fn from_env(
        env: &dyn Env,
        http: &reqwest::Client,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let settings = VaultSettings::from_env(env)?;
        let http = match tls(&settings)? {
            None => http.clone(),
            Some(tls) => keyturn_http::client_with(env, &tls).map_err(SetupError::Client)?,
        };
        Ok(Self {
            sessions: Arc::new(Sessions {
                server: Server { address: settings.address, http },
                login: settings.login,
                login_namespace: settings.login_namespace,
                namespace: settings.namespace,
                clock,
                current: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            }),
            mount: settings.mount,
            prefix: settings.prefix,
        })
    }

    /// Where the KV engine is mounted.
    #[must_use]
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// The same server and login with another mount, and without a prefix.
    ///
    /// # Errors
    ///
    /// [`VaultError::BadPath`].
    pub fn at(&self, mount: &str) -> Result<Self, VaultError> {
        if !is_path(mount) {
            return Err(VaultError::BadPath);
        }
        Ok(Self { sessions: Arc::clone(&self.sessions), mount: mount.to_owned(), prefix: None })
    }

    /// Reads the newest version of a document.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there is none, or the newest version is deleted.
    pub async fn get(&self, path: &str) -> Result<Document, VaultError> {
        self.read(path, None).await
    }

    /// Reads one version of a document.
    ///
    /// # Errors
    ///
    /// As [`Vault::get`].
    pub async fn get_version(&self, path: &str, version: u64) -> Result<Document, VaultError> {
        self.read(path, Some(version)).await
    }

    async fn read(&self, path: &str, version: Option<u64>) -> Result<Document, VaultError> {
        let path = &self.path(path)?;
        let read = |session: Arc<Session>| async move {
            let request = ReadSecretRequest { mount: self.mount.clone(), path: path.clone(), version };
            answer("path", api::exec_with_result(&session.caller, request)).await
        };
        let found = self.reading(read).await?;
        Ok(Document {
            data: found.data,
            version: found.metadata.version,
            created: time(&found.metadata.created_time)?,
            notes: found.metadata.custom_metadata.into_iter().flatten().collect(),
        })
    }

    /// What is known of a document, deleted or not.
    ///
    /// # Errors
    ///
    /// [`VaultError::NotFound`] when there is nothing, or it was deleted with all its versions.
    pub async fn trace(&self, path: &str) -> Result<Trace, VaultError> {
        let path = &self.path(path)?;
        let read = |session: Arc<Session>| async move {
            answer("path", kv2::read_metadata(&session.caller, &self.mount, path)).await
        };
        let found = self.reading(read).await?;
        let notes = found.custom_metadata.into_iter().flatten().collect();
        Ok(Trace { version: found.current_version, notes })
    }

    /// Writes a version of a document after `after`; 0 = it must not have been there. Returns the new version.
    ///
    /// # Errors
    ///
    /// [`VaultError::CasMismatch`] when its newest version is another one.
    pub async fn put(&self, path: &str, data: &Value, after: u64) -> Result<u64, VaultError> {
        Ok(self.write(path, data, after).await?.version)
    }

    /// The same; tells also when the new version was written.
    ///
    /// # Errors
    ///
    /// As [`Vault::put`].
    pub async fn put_timed(&self, path: &str, data: &Value, after: u64) -> Result<Written, VaultError> {
        let SecretVersionMetadata { version, created_time, .. } = self.write(path, data, after).await?;
        Ok(Written { version, created: time(&created_time)? })
    }

    async fn write(&self, path: &str, data: &Value, after: u64) -> Result<SecretVersionMetadata, VaultError> {
        let path = &self.path(path)?;
        let cas = u32::try_from(after).map_err(|_| VaultError::CasMismatch)?;
        let write = |session: Arc<Session>| async move {
            let options = SetSecretRequestOptions { cas };
            answer("path", kv2::set_with_options(&session.caller, &self.mount, path, data, options)).await
        };
        self.writing(write).await
    }

    /// Writes a document, whatever was there. Returns the new version.
    ///
    /// # Errors
    ///
    /// When Vault does not take it.
    pub async fn set(&self, path: &str, data: &Value) -> Result<u64, VaultError> {
        let path = &self.path(path)?;
        let write = |session: Arc<Session>| async move {
            answer("path", kv2::set(&session.caller, &self.mount, path, data)).await
        };
        Ok(self.writing(write).await?.version)
    }

    /// Sets what is noted beside a document. Its versions do not change.
    ///
    /// # Errors
    ///
    /// When Vault does not take it.
    pub async fn note(&self, path: &str, notes: &BTreeMap<String, String>) -> Result<(), VaultError> {
        let path = &self.path(path)?;
        let write = |session: Arc<Session>| async move {
            let notes: HashMap<_, _> = notes.clone().into_iter().collect();
            let mut request = SetSecretMetadataRequest::builder();
            request.custom_metadata(notes);
            answer("path", kv2::set_metadata(&session.caller, &self.mount, path, Some(&mut request))).await
        };
        self.writing(write).await
    }

    /// Deletes a document with all its versions, so that the next one is version 1 again; one that is not there is no
    /// error.
    ///
    /// # Errors
    ///
    /// When Vault does not do it.
    pub async fn delete(&self, path: &str) -> Result<(), VaultError> {
        let path = &self.path(path)?;
        let delete = |session: Arc<Session>| async move {
            answer("path", kv2::delete_metadata(&session.caller, &self.mount, path)).await
        };
        match self.writing(delete).await {
            Err(VaultError::NotFound) => Ok(()),
            other => other,
        }
    }

    /// Deletes single versions of a document for good; its other versions, and its count of versions, stay.
    ///
    /// # Errors
    ///
    /// When Vault does not do it.
    pub async fn destroy(&self, path: &str, versions: &[u64]) -> Result<(), VaultError> {
        let path = &self.path(path)?;
        let destroy = |session: Arc<Session>| async move {
            let versions = versions.to_vec();
            answer("path", kv2::destroy_versions(&session.caller, &self.mount, path, versions)).await
        };
        self.writing(destroy).await
    }

    /// The names under a path (an empty one is where all paths begin), those of deeper paths with a slash at the end,
    /// in no order; none when there is nothing.
    ///
    /// # Errors
    ///
    /// When Vault does not tell.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, VaultError> {
        let path = &match path {
            "" => self.prefix.clone().unwrap_or_default(),
            path => self.path(path)?,
        };
        let list = |session: Arc<Session>| async move {
            answer_of_list("path", kv2::list(&session.caller, &self.mount, path)).await
        };
        match self.reading(list).await {
            Err(VaultError::NotFound) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Where a document is under the mount.
    fn path(&self, path: &str) -> Result<String, VaultError> {
        if !is_path(path) {
            return Err(VaultError::BadPath);
        }
        Ok(self.prefix.as_ref().map_or_else(|| path.to_owned(), |prefix| format!("{prefix}/{path}")))
    }

    /// Makes a call that changes nothing; again after a failure that may pass.
    async fn reading<T, F>(&self, call: impl Fn(Arc<Session>) -> F) -> Result<T, VaultError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        self.calling(call, Outage::is_brief).await
    }

    /// Makes a call that changes something; again only if it surely changed nothing.
    async fn writing<T, F>(&self, call: impl Fn(Arc<Session>) -> F) -> Result<T, VaultError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        self.calling(call, |outage| *outage == Outage::Behind).await
    }

    async fn calling<T, F>(
        &self,
        call: impl Fn(Arc<Session>) -> F,
        again: fn(&Outage) -> bool,
    ) -> Result<T, VaultError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            match self.call(&call).await {
                Err(VaultError::Unavailable(outage)) if tries < TRIES && again(&outage) => {
                    tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    pause *= 2;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Makes a call, and again with a new token when the token is refused.
    async fn call<T, F>(&self, call: impl Fn(Arc<Session>) -> F) -> Result<T, VaultError>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        let session = self.sessions.get().await?;
        match Box::pin(call(Arc::clone(&session))).await {
            Err(VaultError::Denied(what)) => match self.sessions.after_refusal(&session).await? {
                Some(session) => Box::pin(call(session)).await,
                None => Err(VaultError::Denied(what)),
            },
            other => other,
        }
    }
}

/// A time as Vault writes it.
fn time(text: &str) -> Result<Timestamp, VaultError> {
    text.parse().map_err(|_| VaultError::Unavailable(Outage::Malformed))
}

/// What the HTTP client needs beyond what it has anyway.
fn tls(settings: &VaultSettings) -> Result<Option<Tls>, SetupError> {
    if settings.roots.is_none() && settings.identity.is_none() {
        return Ok(None);
    }
    let read =
        |variable, path: &String| fs::read(path).map_err(|source| SetupError::File { variable, source });
    let roots = settings.roots.as_ref().map(|path| read(CA, path)).transpose()?;
    let identity = match &settings.identity {
        Some((certificate, key)) => Some((read(CLIENT_CERT, certificate)?, read(CLIENT_KEY, key)?.into())),
        None => None,
    };
    Ok(Some(Tls { roots, identity }))
}
