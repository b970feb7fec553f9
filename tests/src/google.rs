//! Google, made up: its token services, Secret Manager and Cloud KMS at one address. It holds callers to what the
//! services document, and answers with their errors.
//!
//! What is not documented is chosen: an alias that is not there is not found, and a disabled version may be `latest`.

pub mod keys;
pub mod secrets;
pub mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::fake::{Answer, Asked, Fake, Mishap};

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Through,
    /// It is carried out, and answered with an outage.
    Lost,
    /// It is not carried out, and answered with an outage.
    Cut,
}

type Judge = Box<dyn Fn(&Asked) -> Fate + Send + Sync>;

/// The running services.
pub struct Google {
    fake: Fake,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    tokens: Mutex<tokens::Tokens>,
    secrets: Mutex<secrets::Secrets>,
    keys: Mutex<keys::Keys>,
    judge: Mutex<Option<Arc<Judge>>>,
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Google").field("fake", &self.fake).finish_non_exhaustive()
    }
}

impl Google {
    /// Starts them.
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        let answering = Arc::clone(&state);
        Self { fake: Fake::start(move |asked| answering.answer(asked)).await, state }
    }

    /// Their address.
    #[must_use]
    pub fn url(&self) -> String {
        self.fake.url()
    }

    /// The variables with which a store finds them, as on a machine of project `project-1`.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let url = self.url();
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        [
            ("GCE_METADATA_HOST", host),
            ("GOOGLE_SECRET_MANAGER_ENDPOINT", url.clone()),
            ("GOOGLE_KMS_ENDPOINT", url),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Every call so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.fake.asked()
    }

    /// From now on every call fails like this; or none does.
    pub fn fail(&self, mishap: Option<Mishap>) {
        self.fake.fail(mishap);
    }

    /// Decides from now on what becomes of each call.
    pub fn judge(&self, judge: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
        *lock(&self.state.judge) = Some(Arc::new(Box::new(judge)));
    }

    /// What there is to know of tokens.
    pub fn tokens(&self) -> MutexGuard<'_, tokens::Tokens> {
        lock(&self.state.tokens)
    }

    /// The secrets, to be looked at and changed by hand.
    pub fn secrets(&self) -> MutexGuard<'_, secrets::Secrets> {
        lock(&self.state.secrets)
    }

    /// The keys.
    pub fn keys(&self) -> MutexGuard<'_, keys::Keys> {
        lock(&self.state.keys)
    }
}

impl State {
    fn answer(&self, asked: &Asked) -> Answer {
        let judge = lock(&self.judge).clone();
        let fate = judge.map_or(Fate::Through, |judge| judge(asked));
        let outage = || error(503, "UNAVAILABLE", "The service is currently unavailable.");
        if fate == Fate::Cut {
            return outage();
        }
        let answer = self.route(asked);
        if fate == Fate::Lost { outage() } else { answer }
    }

    fn route(&self, asked: &Asked) -> Answer {
        if let Some(answer) = lock(&self.tokens).answer(asked) {
            return answer;
        }
        let bearer = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if !lock(&self.tokens).is_live(bearer) {
            return error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.");
        }
        if asked.path.ends_with(":decrypt") {
            return lock(&self.keys).answer(asked);
        }
        lock(&self.secrets).answer(asked)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error as Google's services write it. Messages may repeat what was sent.
#[must_use]
pub fn error(code: u16, status: &str, message: &str) -> Answer {
    Answer::json(code, &json!({"error": {"code": code, "message": message, "status": status}}))
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// A bytes field of a request, with its checksum if it has one.
fn bytes(body: &Value, field: &str, checksum: &str) -> Result<Vec<u8>, Answer> {
    use base64::Engine as _;
    let invalid = |what: &str| error(400, "INVALID_ARGUMENT", &format!("{field}: {what} {body}"));
    let text = body[field].as_str().ok_or_else(|| invalid("missing"))?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|_| invalid("Base64 decoding failed"))?;
    match &body[checksum] {
        Value::Null => Ok(bytes),
        Value::String(sent) if *sent == crc32c(&bytes).to_string() => Ok(bytes),
        _ => Err(invalid("the checksum does not match the data")),
    }
}

/// CRC-32C, bit by bit.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}
