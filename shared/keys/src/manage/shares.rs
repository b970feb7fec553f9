//! Over how many shares an account is spread.

use crate::limits::Limits;

/// What one item of DynamoDB's carries is about 1,000 writes a second; half of it leaves room for chance, since
/// requests pick their shares at random.
const WRITES_PER_SHARE: u64 = 500;
/// An admission and a settlement.
const WRITES_PER_REQUEST: u64 = 2;
/// All shares get a new revision in one transaction, which has room for 100 items.
const MOST: u64 = 64;

/// The number of shares that the requests a minute call for: none, or a power of two up to 64.
pub(crate) fn shares_for(limits: &Limits, spread: bool) -> u16 {
    if !spread {
        return 0;
    }
    // Without a limit of its own it may still promise something to single models.
    let models = limits.model_rpm_limit.values().fold(0_u64, |sum, limit| sum.saturating_add(*limit));
    let requests = limits.rpm_limit.unwrap_or(models);
    let writes = (requests / 60).saturating_mul(WRITES_PER_REQUEST);
    let shares = writes.div_ceil(WRITES_PER_SHARE).min(MOST).next_power_of_two();
    if shares < 2 { 0 } else { u16::try_from(shares).unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_with_the_promise() {
        for (rpm, shares) in [
            (0, 0),
            (1_000, 0),
            (15_000, 0),
            (15_060, 2),
            (30_000, 2),
            (60_000, 4),
            (600_000, 64),
            (u64::MAX, 64),
        ] {
            let limits = Limits { rpm_limit: Some(rpm), ..Limits::default() };
            assert_eq!(shares_for(&limits, true), shares, "{rpm}");
            assert_eq!(shares_for(&limits, false), 0, "{rpm}");
        }
        assert_eq!(shares_for(&Limits::default(), true), 0);
        let models = [("a".to_owned(), 30_000), ("b".to_owned(), 30_000)].into();
        assert_eq!(shares_for(&Limits { model_rpm_limit: models, ..Limits::default() }, true), 4);
    }
}
