//! Why we cannot say who we are.

use keyturn_http::call::{Answer, CallError};

/// Why there is no credential or token. It repeats no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A setting is missing or wrong: it is named. An operator's work.
    #[error("{setting} {problem}")]
    Setting {
        /// The variable or the field.
        setting: String,
        /// What is wrong with it, without its value.
        problem: &'static str,
    },
    /// We are not who we say, or may not be: an operator's work.
    #[error("{who} refuses us: {told}")]
    Denied {
        /// Who was asked.
        who: &'static str,
        /// What it said: its status and its name of the error.
        told: String,
    },
    /// No answer now; asking later may work.
    #[error("{who} does not answer: {told}")]
    Unavailable {
        /// Who was asked.
        who: &'static str,
        /// What happened.
        told: String,
    },
}

impl IdentityError {
    /// A setting that is missing or wrong.
    #[must_use]
    pub fn setting(setting: &str, problem: &'static str) -> Self {
        Self::Setting { setting: setting.to_owned(), problem }
    }

    /// What a call without an answer means.
    #[must_use]
    pub fn of_call(who: &'static str, error: &CallError) -> Self {
        let told = error.to_string();
        match error {
            CallError::Unfit(_) => Self::Denied { who, told },
            CallError::NoAnswer(_) | CallError::Malformed(_) => Self::Unavailable { who, told },
        }
    }

    /// What an answer that is no success means: 408, 425, 429 and 5xx pass, everything else is an operator's work.
    #[must_use]
    pub fn of_answer<Mark>(who: &'static str, answer: &Answer<Mark>) -> Self {
        let told = answer.told();
        match answer.status().as_u16() {
            408 | 425 | 429 | 500.. => Self::Unavailable { who, told },
            _ => Self::Denied { who, told },
        }
    }
}
