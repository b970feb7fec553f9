//! The port: what the gateway asks of a place where virtual keys live.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::hash::KeyHash;
use crate::new_key::NewKey;
use crate::virtual_key::VirtualKey;

/// What a request is about to use, estimated from above: limits hold for what is asked here.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The model, as the client named it.
    pub model: &'a str,
    /// Tokens, those of the answer included.
    pub tokens: u64,
    /// Cost in US dollars.
    pub cost: f64,
}

/// What a request has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Tokens, those of the answer included.
    pub tokens: u64,
    /// Cost in US dollars.
    pub cost: f64,
}

/// A request may go on. Settle it, also when it came to nothing: then with [`Spent::default`].
#[derive(Debug)]
pub struct Admission {
    /// The key.
    pub key: Arc<VirtualKey>,
    /// How many rotations of provider credentials have been finished, as last read: a larger number than
    /// before means that a credential read earlier may be an old one.
    pub generation: u64,
    /// What was set aside; `None` for a key without limits.
    pub reservation: Option<Reservation>,
    /// `x-ratelimit-api_key-*` headers for the response, for the limits that the key has.
    pub rate_headers: Vec<(&'static str, String)>,
}

/// What an admission has set aside until it is settled. If it never is, it stops counting by itself.
#[derive(Debug)]
pub struct Reservation {
    /// Nano-dollars of the budget, and the time slot they are booked in; `None` without a budget.
    pub(crate) budget: Option<(i64, i64)>,
    /// Tokens of the window; `None` without a token limit.
    pub(crate) tokens: Option<i64>,
    /// The window: minutes since 1970.
    pub(crate) minute: i64,
}

/// Which limit of a minute was reached, in the words of LiteLLM's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitType {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
}

impl fmt::Display for LimitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        })
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key has this value, or none has it any more.
    #[error("unknown key")]
    NotFound,
    /// The key is blocked.
    #[error("the key is blocked")]
    Blocked,
    /// The key's time is over.
    #[error("the key expired at {at}")]
    Expired {
        /// When it stopped working.
        at: Timestamp,
    },
    /// The key's list does not have this model.
    #[error("the key may not call model {model}")]
    ModelDenied {
        /// What was asked for.
        model: String,
        /// The key's list.
        allowed: Vec<String>,
    },
    /// The request does not fit into what is left of the budget.
    #[error("over budget: {spend} of {max_budget} USD are spent or reserved")]
    BudgetExceeded {
        /// US dollars spent, reservations of requests under way included.
        spend: f64,
        /// US dollars allowed.
        max_budget: f64,
    },
    /// The request does not fit into this minute.
    #[error("{limit_type} limit of {limit} a minute reached, {remaining} remaining until {resets_at}")]
    RateLimited {
        /// Which limit.
        limit_type: LimitType,
        /// The limit, per minute.
        limit: u64,
        /// What is left of it: too little for this request.
        remaining: u64,
        /// When the next minute begins.
        resets_at: Timestamp,
    },
    /// Another key has this already.
    #[error("another key has this {field}")]
    Duplicate {
        /// `key` or `key_alias`.
        field: &'static str,
    },
    /// A new key's field cannot be accepted.
    #[error("{field} {reason}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What is wrong, to be read after the field's name.
        reason: &'static str,
    },
    /// The store failed: an outage of ours, never the caller's fault.
    #[error("the key store is unavailable")]
    Unavailable(#[source] StoreFailure),
}

/// What a store reported, as text for the log. A client library's error is not kept: its `Debug` may show a
/// whole response.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreFailure(String);

impl StoreFailure {
    /// A failure in one's own words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A failure with its causes, outermost first.
    pub(crate) fn from_error(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(text)
    }
}

/// Where virtual keys live.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Authenticates the key, authorises the request and reserves what it asks for, in one step: of any number
    /// of concurrent requests, only as many as fit are admitted.
    ///
    /// # Errors
    ///
    /// The refusals of [`KeyError`]; [`KeyError::Unavailable`] when the store cannot answer.
    async fn admit(&self, hash: &KeyHash, ask: &Ask<'_>) -> Result<Admission, KeyError>;

    /// The key, for requests that use nothing up: its limits are not touched.
    ///
    /// # Errors
    ///
    /// As [`KeyStore::admit`], but for model and limits.
    async fn authenticate(&self, hash: &KeyHash) -> Result<Arc<VirtualKey>, KeyError>;

    /// Records what an admitted request has used and gives back what was reserved too much.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotFound`] when the key has been deleted, [`KeyError::Unavailable`] when the store cannot
    /// answer; then the usage is not recorded, and the reservation ends by itself.
    async fn settle(&self, admission: Admission, spent: &Spent) -> Result<(), KeyError>;

    /// Makes a key. Its value is in the answer and nowhere else; it works at once.
    ///
    /// # Errors
    ///
    /// [`KeyError::Invalid`] and [`KeyError::Duplicate`] name the field; nothing has been stored then.
    async fn create(&self, key: NewKey) -> Result<(SecretString, VirtualKey), KeyError>;
}
