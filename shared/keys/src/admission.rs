//! What the request path asks of virtual keys, and what it is told.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::ledger::settle::Held;
use crate::store::StoreFailure;
use crate::virtual_key::VirtualKey;

/// What a request is about to use, estimated from above: limits hold for what is asked here.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The route, as the client sent it: `/v1/chat/completions`.
    pub route: &'a str,
    /// The model, as the client named it.
    pub model: &'a str,
    /// Tokens, those of the answer included.
    pub tokens: u64,
    /// Cost in US dollars.
    pub cost: f64,
}

/// What a request has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spent {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Cost in US dollars.
    pub cost: f64,
    /// The model group that answered.
    pub model: String,
    /// The request's own labels; the key's are added to them.
    pub tags: Vec<String>,
}

impl Spent {
    /// All tokens.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// A request may go on. Settle it, also when it came to nothing: then with [`Spent::default`].
#[derive(Debug)]
pub struct Admission {
    /// The key.
    pub key: Arc<VirtualKey>,
    /// How many rotations of provider credentials have been finished, as last read: a larger number than
    /// before means that a credential read earlier may be an old one.
    pub generation: u64,
    /// What was set aside.
    pub reservation: Reservation,
    /// `x-ratelimit-*` headers for the response, for the limits that key, team and user have.
    pub rate_headers: Vec<(&'static str, String)>,
    /// Whose soft budget is used up.
    pub over_soft_budget: Option<Holder>,
}

/// What an admission has set aside until it is settled. If it never is, it stops counting by itself.
#[derive(Debug)]
pub struct Reservation {
    /// In the accounts of the key, its team and its user, as far as they are there.
    pub(crate) held: Vec<Held>,
    /// How many shares the key has.
    pub(crate) shares: u16,
}

/// Whose limit, list or block it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The key's own.
    Key,
    /// The team's with this id.
    Team(String),
    /// The user's with this id.
    User(String),
}

impl Holder {
    /// `key`, `team` or `user`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Team(_) => "team",
            Self::User(_) => "user",
        }
    }
}

/// Which limit was reached, in the words of LiteLLM's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitType {
    /// Requests in a minute.
    Requests,
    /// Tokens in a minute.
    Tokens,
    /// Requests under way at once.
    Parallel,
}

impl fmt::Display for LimitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "max_parallel_requests",
        })
    }
}

/// Why a request was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key has this value, or none has it any more.
    #[error("unknown key")]
    NotFound,
    /// The key is blocked.
    #[error("the key is blocked")]
    Blocked,
    /// The key's team is blocked.
    #[error("team {team_id} is blocked")]
    TeamBlocked {
        /// The team.
        team_id: String,
    },
    /// The key's time is over.
    #[error("the key expired at {at}")]
    Expired {
        /// When it stopped working.
        at: Timestamp,
    },
    /// The key may not call this route.
    #[error("the key may not call {route}")]
    RouteDenied {
        /// What was called.
        route: String,
        /// What it may call.
        allowed: Vec<String>,
    },
    /// The list of the key, its team or its user does not have this model.
    #[error("the {} may not call model {model}", holder.word())]
    ModelDenied {
        /// Whose list it is.
        holder: Holder,
        /// What was asked for.
        model: String,
        /// The list.
        allowed: Vec<String>,
    },
    /// The request does not fit into what is left of a budget.
    #[error("the {} is over budget: {spend} of {max_budget} USD are spent or reserved", holder.word())]
    BudgetExceeded {
        /// Whose budget it is.
        holder: Holder,
        /// The model, if the budget is one model's.
        model: Option<String>,
        /// US dollars spent, reservations of requests under way included.
        spend: f64,
        /// US dollars allowed.
        max_budget: f64,
        /// When the budget's next window begins; `None` = it has no windows.
        resets_at: Option<Timestamp>,
    },
    /// The request does not fit into this minute, or beside those under way.
    #[error("{limit_type} limit of {limit} of the {} reached, {remaining} remaining", holder.word())]
    RateLimited {
        /// Whose limit it is.
        holder: Holder,
        /// The model, if the limit is one model's.
        model: Option<String>,
        /// Which limit.
        limit_type: LimitType,
        /// The limit, per minute or at once.
        limit: u64,
        /// What is left of it: too little for this request.
        remaining: u64,
        /// When the next minute begins; `None` for requests under way: when one of them ends.
        resets_at: Option<Timestamp>,
    },
    /// The store failed: an outage of ours, never the caller's fault.
    #[error("the key store is unavailable")]
    Unavailable(#[from] StoreFailure),
}

/// What a settlement did not do.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The usage is not counted in at least one account: the key, team or user was deleted, or the store failed.
    /// What was reserved there ends by itself.
    #[error("the usage was not counted")]
    NotCounted(#[source] KeyError),
    /// Everything is counted, but the report of usage lacks this request.
    #[error("the usage was not written to the report")]
    NotReported(#[source] StoreFailure),
}
