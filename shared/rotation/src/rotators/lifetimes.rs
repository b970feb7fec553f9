//! `expires_in`: when the service itself ends a credential, as a backstop for one that was lost.

use jiff::{SignedDuration, Timestamp};

use crate::settings::{OURS, SettingsError};

/// The shortest life: a credential has to last until the next rotation and the overlap after it, and Secrets Manager
/// rotates as often as every four hours
/// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html>).
pub(super) const SHORTEST: SignedDuration = SignedDuration::from_hours(24);

/// Checks the setting.
///
/// # Errors
///
/// It is below [`SHORTEST`], or above what the service takes.
pub(super) fn checked(
    expires_in: Option<SignedDuration>,
    longest: Option<SignedDuration>,
) -> Result<Option<SignedDuration>, SettingsError> {
    let wrong = |problem: &str| Err(SettingsError::new(format!("{OURS}expires_in"), problem));
    match (expires_in, longest) {
        (Some(span), _) if span < SHORTEST => {
            wrong("is too short: a credential must outlast the next rotation, at least 1d")
        }
        (Some(span), Some(longest)) if span > longest => wrong("is longer than the service takes"),
        _ => Ok(expires_in),
    }
}

/// `span` after `now`, in whole seconds.
pub(super) fn end(now: Timestamp, span: SignedDuration) -> Timestamp {
    let end = now.checked_add(span).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(end.as_second()).unwrap_or(end)
}
