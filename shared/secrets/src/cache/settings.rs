//! How long a credential lives.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How long credentials live in the cache, and how often a store may be asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CacheSettings {
    /// The age from which a value is refreshed while it is being served.
    pub soft_ttl: Duration,
    /// The age from which a value is not served any more.
    pub hard_ttl: Duration,
    /// By which part of itself the soft TTL varies, up and down (0 to 1), so that environments that were
    /// started together do not ask together.
    pub jitter: f64,
    /// The time in which refused credentials cause at most one read of a secret.
    pub refusal_cooldown: Duration,
    /// The time for which a failed read answers for further ones.
    pub failure_cooldown: Duration,
    /// How long one read may take, retries included.
    pub read_timeout: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            soft_ttl: Duration::from_secs(300),
            hard_ttl: Duration::from_secs(3600),
            jitter: 0.2,
            refusal_cooldown: Duration::from_secs(10),
            failure_cooldown: Duration::from_secs(1),
            // Above the 8 s that an AWS call has, below the 10 s of Lambda's init phase.
            read_timeout: Duration::from_secs(9),
        }
    }
}

impl CacheSettings {
    /// A soft TTL for one value: its store's own or the configured one, varied by the jitter. A store's own is at most
    /// three quarters of the hard TTL, so that there is time for a refresh before that.
    pub(crate) fn soft_ttl(&self, of_store: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
        let soft_ttl = of_store.map_or(self.soft_ttl, |own| own.min(self.hard_ttl / 4 * 3));
        let jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 };
        let factor = 1.0 + jitter * (2.0 * rng.f64() - 1.0);
        Duration::try_from_secs_f64(soft_ttl.as_secs_f64() * factor).unwrap_or(soft_ttl)
    }
}

/// Whether at `now` less than `span` has passed since `since`. A clock that was set back makes it false:
/// rather one read too many than a cooldown of hours.
pub(crate) fn within(now: Timestamp, since: Timestamp, span: Duration) -> bool {
    let age = now.duration_since(since);
    !age.is_negative() && age < SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(settings: &CacheSettings) -> Vec<Duration> {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..2000).map(|_| settings.soft_ttl(None, &mut rng)).collect()
    }

    #[test]
    fn the_soft_ttl_varies_within_the_jitter_and_uses_all_of_it() {
        let drawn = drawn(&CacheSettings::default());
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!((240.0..242.0).contains(&least.as_secs_f64()), "{least:?}");
        assert!((358.0..=360.0).contains(&most.as_secs_f64()), "{most:?}");
    }

    #[test]
    fn a_stores_own_soft_ttl_is_held_below_the_hard_ttl_with_the_jitter() {
        let settings = CacheSettings::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut drawn = |own: u64| settings.soft_ttl(Some(Duration::from_secs(own)), &mut rng).as_secs_f64();
        for _ in 0..2000 {
            assert!((8.0..=12.0).contains(&drawn(10)));
            let day = drawn(86_400);
            assert!((2160.0..=3240.0).contains(&day), "{day}");
        }
    }

    #[test]
    fn a_jitter_that_makes_no_sense_is_held_within_bounds() {
        for jitter in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let settings = CacheSettings { jitter, ..CacheSettings::default() };
            assert!(drawn(&settings).iter().all(|&ttl| ttl == settings.soft_ttl), "{jitter}");
        }
        let settings = CacheSettings { jitter: 9.0, ..CacheSettings::default() };
        assert!(drawn(&settings).iter().all(|&ttl| ttl <= 2 * settings.soft_ttl));
        let settings = CacheSettings { soft_ttl: Duration::MAX, ..CacheSettings::default() };
        assert!(drawn(&settings).iter().all(|&ttl| ttl >= Duration::MAX.mul_f64(0.79)));
    }

    #[test]
    fn a_span_ends_to_the_second_and_does_not_survive_a_clock_set_back() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let span = Duration::from_secs(10);
        assert!(within(at(100), at(100), span));
        assert!(within(at(109), at(100), span));
        assert!(!within(at(110), at(100), span));
        assert!(!within(at(99), at(100), span));
        assert!(within(at(99_999), at(100), Duration::MAX));
    }
}
