//! A service of one's own: `custom:team/openai-api-key`, `custom:providers#OPENAI_API_KEY`.
//!
//! `GET` of an address that is made from the name; the answer is the secret: a text without its trailing newlines, or a
//! JSON object whose field the reference picks.
//!
//! | variable | meaning |
//! |---|---|
//! | `KEYTURN_CUSTOM_SECRETS_URL` | the address. Where it has `{name}`, there the name stands, percent-encoded with its slashes; else the name's parts follow as segments of the path. It must begin with `https://`, unless it is this machine's |
//! | `KEYTURN_CUSTOM_SECRETS_TOKEN` | the bearer token: itself, or a reference to it in another store (`vault:secret/keyturn#token`). Without it none is sent |
//!
//! A token of another store is kept like any credential: read again after five minutes, in use for an hour at most, or
//! as long as it is good for. When the service answers 401 it is read again at once, and if it has changed, the
//! call is made again, once.
//!
//! Versions: a digest of the value. There are no stages. 404 and 410
//! mean that there is no such secret, 408, 425, 429 and 5xx that the service cannot answer now, and everything else that
//! it refuses us.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keyturn_ambient::Life;
use keyturn_config::SecretRef;
use keyturn_http::call::{Answer, Call, is_private};
use keyturn_identity::{Granted, Renewed};
use keyturn_vault::is_path;
use reqwest::{Method, Url};
use secrecy::ExposeSecret;

use super::{Surroundings, answers, open};
use crate::document::Document;
use crate::{Cause, Secret, SecretError, SecretStore, Stage};

const URL: &str = "KEYTURN_CUSTOM_SECRETS_URL";
const TOKEN: &str = "KEYTURN_CUSTOM_SECRETS_TOKEN";

/// Where the name stands in the address.
const NAME: &str = "{name}";

/// How long a token is kept that does not end by itself: as long as a credential in the cache.
const REFRESH_AFTER: Duration = Duration::from_secs(300);
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// A service of one's own as a store.
pub struct Custom {
    found: Surroundings,
    token: Renewed<Secret>,
}

/// The bearer token.
enum Bearer {
    None,
    Literal(Secret),
    Elsewhere(SecretRef, Arc<dyn SecretStore>),
}

impl Custom {
    /// The scheme of its references.
    pub const SCHEME: &'static str = "custom";

    /// The store that the environment names. The environment is read at each use.
    #[must_use]
    pub fn new(found: &Surroundings) -> Self {
        let token = Renewed::new(found.clock.clone());
        Self { found: found.clone(), token }
    }

    /// Where the secret of this name is.
    fn address(&self, reference: &str, name: &str) -> Result<Url, SecretError> {
        let denied = |problem: &str| SecretError::denied(reference, &format!("{URL} {problem}"));
        let template = self.found.env.var(URL).ok_or_else(|| denied("is not set"))?;
        let with = |name: &str| Url::parse(&template.replace(NAME, name)).ok();
        let checked = with("a").filter(Url::has_host).ok_or_else(|| denied("is no address"))?;
        let is_plain = checked.username().is_empty() && checked.password().is_none();
        if !is_plain || checked.fragment().is_some() {
            return Err(denied("must have no user and no fragment"));
        }
        if !is_private(&checked) {
            return Err(denied("must begin with https://"));
        }
        if with("b").is_none_or(|other| other.origin() != checked.origin()) {
            return Err(denied("must not have the name in its host"));
        }
        let absent = || SecretError::not_found(reference, "the name has empty parts, or parts of dots");
        if !is_path(name) {
            return Err(absent());
        }
        if template.contains(NAME) {
            return with(&encoded(name)).ok_or_else(absent);
        }
        let mut address = checked;
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().extend(name.split('/'));
        }
        Ok(address)
    }

    /// The bearer token's place.
    fn bearer(&self, reference: &str) -> Result<Bearer, SecretError> {
        let Some(text) = self.found.env.var(TOKEN) else { return Ok(Bearer::None) };
        let denied = |problem: &str| SecretError::denied(reference, &format!("{TOKEN} {problem}"));
        match SecretRef::explicit(&text).map_err(|error| denied(&error.to_string()))? {
            None => Ok(Bearer::Literal(Secret::unversioned(text))),
            Some(token) if token.scheme == Self::SCHEME => {
                Err(denied("must not be in the store that it opens"))
            }
            Some(token) => {
                let store = open(&token.scheme, &self.found).ok_or_else(|| denied("names no store"))?;
                Ok(Bearer::Elsewhere(token, store))
            }
        }
    }

    /// The token to send.
    async fn token(&self, reference: &str, bearer: &Bearer) -> Result<Option<Secret>, SecretError> {
        match bearer {
            Bearer::None => Ok(None),
            Bearer::Literal(token) => Ok(Some(token.clone())),
            Bearer::Elsewhere(place, store) => {
                let fetch = async |now| read_token(reference, place, &**store, now).await;
                Ok(Some(self.token.get(fetch).await?.value))
            }
        }
    }

    async fn ask(
        &self,
        reference: &str,
        address: Url,
        token: Option<&Secret>,
    ) -> Result<Answer, SecretError> {
        let call = Call::new(&self.found.http, Method::GET, address)
            .header("accept", "application/json, text/plain");
        let call = match token {
            None => call,
            Some(token) => call.bearer(&token.value),
        };
        answers::answer(reference, call).await
    }
}

/// Reads the token from its store.
async fn read_token(
    reference: &str,
    place: &SecretRef,
    store: &dyn SecretStore,
    now: Timestamp,
) -> Result<Granted<Secret>, SecretError> {
    let whole = store.get(&place.name, &Stage::of(place.stage.as_deref())).await;
    let token = whole.and_then(|whole| match &place.field {
        None => Ok(whole),
        Some(field) => Document::new(whole).field(field, &|| place.to_string()),
    });
    let token = token.map_err(|error| {
        let (reference, cause) = (reference.to_owned(), Cause::of(&error));
        match error {
            SecretError::Unavailable { .. } => SecretError::Unavailable { reference, cause },
            _ => SecretError::Denied { reference, cause },
        }
    })?;
    let after = |span: Duration| now.saturating_add(span).unwrap_or(Timestamp::MAX);
    let life =
        token.life.unwrap_or_else(|| Life { renew_at: after(REFRESH_AFTER), ends_at: after(KEPT_FOR) });
    Ok(Granted { value: token, life })
}

/// A text as it may stand anywhere in an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The secret that an answer is.
fn secret(reference: &str, answer: &Answer) -> Result<Secret, SecretError> {
    let text = answers::text(reference, answer)?;
    let text = text.expose_secret().trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(SecretError::malformed(reference, "empty"));
    }
    // An `ETag` is no version: a weak one may stay when the value does not, and many are a plain digest of it.
    Ok(Secret::unversioned(text.to_owned()))
}

#[async_trait]
impl SecretStore for Custom {
    fn scheme(&self) -> &'static str {
        Self::SCHEME
    }

    async fn get(&self, name: &str, stage: &Stage) -> Result<Secret, SecretError> {
        let reference = format!("{}:{name}", Self::SCHEME);
        if *stage != Stage::Current {
            return Err(SecretError::not_found(reference, "there are no stages"));
        }
        let address = self.address(&reference, name)?;
        let bearer = self.bearer(&reference)?;
        let token = self.token(&reference, &bearer).await?;
        let mut answer = self.ask(&reference, address.clone(), token.as_ref()).await?;
        if answer.status().as_u16() == 401
            && let Some(refused) = &token
        {
            self.token.forget(|kept| kept.version == refused.version);
            let token = self.token(&reference, &bearer).await?;
            if token.as_ref().is_some_and(|token| token.version != refused.version) {
                answer = self.ask(&reference, address, token.as_ref()).await?;
            }
        }
        if !answer.status().is_success() {
            return Err(answers::refusal(&reference, &answer));
        }
        secret(&reference, &answer)
    }
}
