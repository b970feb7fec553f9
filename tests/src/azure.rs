//! Azure Key Vault and the token endpoint of Microsoft Entra, as far as secrets need them, by the documented protocol:
//! <https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups>, version 2025-07-01.
//!
//! What it is strict about: tokens, the API's version, names, sizes, tags, the fields of bodies. Deleted secrets can be
//! recovered and purged, and keep their names until then; a disabled version cannot be read, nor can the secret whose
//! newest version it is. It knows no permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ::http::Method;
use serde_json::{Value, json};

use crate::fake::{Answer, Asked, Fake};

mod login;
mod vault;

/// The client secret of the application that may log in.
pub const CLIENT_SECRET: &str = "~client-secret-of-the-application";

/// The running services.
#[derive(Debug)]
pub struct Azure {
    /// Key Vault.
    pub vault: Fake,
    /// The token endpoint.
    pub login: Fake,
    state: Arc<Mutex<State>>,
}

/// What happens to one call that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It does not arrive.
    Call,
    /// It is done, and its answer does not arrive.
    Answer,
}

/// What is in the vault.
#[derive(Default)]
pub struct State {
    secrets: BTreeMap<String, Vec<Kept>>,
    deleted: BTreeMap<String, Vec<Kept>>,
    /// Names that are on their way to or from the deleted ones, and how many more calls meet them there.
    moving: BTreeMap<String, (&'static str, u32)>,
    tokens: BTreeSet<String>,
    made: u128,
    is_protected: bool,
    move_takes: u32,
    loss: Option<(u32, Loss)>,
    before: Option<(Method, Meanwhile)>,
    after: Option<(Method, Meanwhile)>,
}

/// What somebody else does.
type Meanwhile = Box<dyn FnOnce(&mut State) + Send>;

#[derive(Clone)]
struct Kept {
    id: String,
    value: String,
    enabled: bool,
    created: u64,
    tags: Value,
}

impl Azure {
    /// Starts them.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (by_vault, by_login) = (Arc::clone(&state), Arc::clone(&state));
        Self {
            vault: Fake::start(move |asked| vault::answer(&mut lock(&by_vault), asked)).await,
            login: Fake::start(move |asked| login::answer(&mut lock(&by_login), asked)).await,
            state,
        }
    }

    /// The variables of an application that may use the vault.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AZURE_KEY_VAULT_URI", &*self.vault.url()),
            ("AZURE_AUTHORITY_HOST", &self.login.url()),
            ("AZURE_TENANT_ID", "contoso"),
            ("AZURE_CLIENT_ID", "the-application"),
            ("AZURE_CLIENT_SECRET", CLIENT_SECRET),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Writes a secret as people do: with the tags that they say, and no others.
    pub fn write(&self, name: &str, value: &str, tags: &Value) {
        lock(&self.state).write(name, value, tags);
    }

    /// Deletes a secret in the way that can be undone.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn delete(&self, name: &str) {
        let mut state = lock(&self.state);
        let versions = state.secrets.remove(name).expect("a secret");
        state.deleted.insert(name.to_owned(), versions);
    }

    /// Disables the newest version of a secret.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn disable(&self, name: &str) {
        let mut state = lock(&self.state);
        let newest = state.secrets.get_mut(name).and_then(|versions| versions.last_mut());
        newest.expect("a version").enabled = false;
    }

    /// What any other reader gets.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<String> {
        let state = lock(&self.state);
        let newest = state.secrets.get(name)?.last()?;
        newest.enabled.then(|| newest.value.clone())
    }

    /// The tags of the newest version.
    #[must_use]
    pub fn tags(&self, name: &str) -> Value {
        let state = lock(&self.state);
        let newest = state.secrets.get(name).and_then(|versions| versions.last());
        newest.map(|newest| newest.tags.clone()).unwrap_or_default()
    }

    /// Every value of a secret that can be read by somebody, the oldest first.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<String> {
        let state = lock(&self.state);
        let versions = state.secrets.get(name).into_iter().flatten();
        versions.filter(|kept| kept.enabled).map(|kept| kept.value.clone()).collect()
    }

    /// Whether the name is of a secret that is deleted and can be recovered.
    #[must_use]
    pub fn is_recoverable(&self, name: &str) -> bool {
        lock(&self.state).deleted.contains_key(name)
    }

    /// No token that was given out until now counts any more.
    pub fn revoke_tokens(&self) {
        lock(&self.state).tokens.clear();
    }

    /// From now on nothing can be purged.
    pub fn protect(&self) {
        lock(&self.state).is_protected = true;
    }

    /// From now on a secret that is deleted, recovered or purged is on its way for so many calls.
    pub fn move_slowly(&self, calls: u32) {
        lock(&self.state).move_takes = calls;
    }

    /// Loses one call that changes something, after so many others of them.
    pub fn lose(&self, after: u32, loss: Loss) {
        lock(&self.state).loss = Some((after, loss));
    }

    /// Whether the call that was to be lost has not come; it is not lost any more.
    #[must_use]
    pub fn spare(&self) -> bool {
        lock(&self.state).loss.take().is_some()
    }

    /// Just before the next call of this method, somebody else does something.
    pub fn before(&self, method: Method, act: impl FnOnce(&mut State) + Send + 'static) {
        lock(&self.state).before = Some((method, Box::new(act)));
    }

    /// Just after the next call of this method, somebody else does something.
    pub fn after(&self, method: Method, act: impl FnOnce(&mut State) + Send + 'static) {
        lock(&self.state).after = Some((method, Box::new(act)));
    }
}

impl State {
    /// Writes a secret as people do.
    pub fn write(&mut self, name: &str, value: &str, tags: &Value) {
        self.push(name, value, true, tags.clone());
    }

    fn push(&mut self, name: &str, value: &str, enabled: bool, tags: Value) -> &Kept {
        self.made += 1;
        // Ids are in no order.
        let id = format!("{:032x}", self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let kept = Kept { id, value: value.to_owned(), enabled, created: now(), tags };
        let versions = self.secrets.entry(name.to_owned()).or_default();
        versions.push(kept);
        &versions[versions.len() - 1]
    }
}

#[expect(clippy::disallowed_methods, reason = "a server has the machine's time")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or_default()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("secrets", &self.secrets.len()).finish_non_exhaustive()
    }
}

/// The fields of a form or a query, decoded.
fn fields(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = text.bytes();
        let mut decoded = Vec::new();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits = [bytes.next(), bytes.next()].map(Option::unwrap_or_default);
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    u8::from_str_radix(&digits, 16).unwrap_or(b'?')
                }
                byte => byte,
            });
        }
        String::from_utf8_lossy(&decoded).into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

/// An error of Key Vault's.
fn error(status: u16, code: &str, inner: Option<&str>, message: &str) -> Answer {
    let inner = inner.map(|code| json!({ "code": code }));
    let mut body = json!({"error": {"code": code, "message": message}});
    if let Some(inner) = inner {
        body["error"]["innererror"] = inner;
    }
    Answer::json(status, &body)
}
