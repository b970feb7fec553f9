//! How long something is good for that ends by itself: a token, a lease.

use std::time::Duration;

use jiff::Timestamp;

/// The most that is left of a life when it is renewed: time for some tries, while it still serves.
const EARLY: Duration = Duration::from_secs(300);
/// The last part of a life, which is not used: clocks differ, and a call takes time to arrive.
const MARGIN: Duration = Duration::from_secs(30);

/// From when something should be replaced, and from when it must not be used any more. Both are wall-clock times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// From here on it is to be replaced, and still serves.
    pub renew_at: Timestamp,
    /// From here on it does not serve.
    pub ends_at: Timestamp,
}

impl Life {
    /// Of what does not end.
    pub const ENDLESS: Self = Self { renew_at: Timestamp::MAX, ends_at: Timestamp::MAX };

    /// Of something that was asked for at `now` and is granted for `lasts`. It ends 30 seconds before that, or a tenth
    /// of it if that is less, and is to be renewed five minutes before, or when a third of it is left.
    #[must_use]
    pub fn granted(now: Timestamp, lasts: Duration) -> Self {
        let after = |span: Duration| now.saturating_add(span).unwrap_or(Timestamp::MAX);
        let ends = lasts.saturating_sub(MARGIN.min(lasts / 10));
        Self { renew_at: after(ends.saturating_sub(EARLY.min(ends / 3))), ends_at: after(ends) }
    }

    /// Whether it may be used. A clock that was set back does not end it.
    #[must_use]
    pub fn serves(&self, now: Timestamp) -> bool {
        now < self.ends_at
    }

    /// Whether it is to be replaced.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.renew_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_before_its_grant_and_is_renewed_before_that() {
        let now = Timestamp::from_second(1_000).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        for (lasts, renew, end) in [(3600, 4_270, 4_570), (60, 1_036, 1_054), (0, 1_000, 1_000)] {
            let life = Life::granted(now, Duration::from_secs(lasts));
            assert_eq!(life, Life { renew_at: at(renew), ends_at: at(end) }, "{lasts}");
        }
        let life = Life::granted(now, Duration::MAX);
        assert_eq!(life.ends_at, Timestamp::MAX);
        assert!(life.serves(at(1 << 32)) && !life.is_due(at(1 << 32)));
    }
}
