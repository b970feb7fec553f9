//! Money and counts as the stores keep them: whole numbers, so that a thousand additions lose nothing.

/// Nano-dollars in a dollar. The cheapest token costs about 10 of them.
const NANOS: f64 = 1e9;

/// The most that one amount can be, in nano-dollars (a billion dollars) or tokens. An upstream's claim of more
/// is a mistake or an attack, and sums of a few such amounts must still fit in 64 bits.
const MOST: i64 = 1_000_000_000_000_000_000;

/// US dollars as whole nano-dollars, at least 0, at most [`MOST`]; 0 for what is not a number.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the range is clamped after it")]
pub(crate) fn nanos(usd: f64) -> i64 {
    ((usd * NANOS).round() as i64).clamp(0, MOST)
}

/// Nano-dollars as US dollars.
#[expect(clippy::cast_precision_loss, reason = "exact up to nine million dollars")]
pub(crate) fn dollars(nanos: i64) -> f64 {
    nanos as f64 / NANOS
}

/// A count as a signed number that can be added and compared, at most [`MOST`].
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "the numbers must be exact")]
    fn dollars_go_there_and_back() {
        for usd in [0.0, 4.5e-6, 0.1, 1.0, 20.0, 123_456.789] {
            assert_eq!(dollars(nanos(usd)), usd);
        }
        assert_eq!(nanos(4.5e-6), 4_500);
    }

    #[test]
    fn what_is_no_amount_is_bounded() {
        for (usd, expected) in
            [(-1.0, 0), (f64::NAN, 0), (f64::NEG_INFINITY, 0), (f64::INFINITY, MOST), (1e300, MOST)]
        {
            assert_eq!(nanos(usd), expected, "{usd}");
        }
        assert_eq!(count(7), 7);
        assert_eq!(count(u64::MAX), MOST);
    }
}
