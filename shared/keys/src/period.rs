//! LiteLLM's durations (`30s`, `5m`, `2h`, `7d`, `1w`, `1mo`) and the budget windows that they cut time into.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as LiteLLM writes it. A month is a calendar month; everything else has a fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    count: u32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    Weeks,
    Months,
}

/// The text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number above 0 and a unit: s, m, h, d, w or mo")]
pub struct NotAPeriod;

/// A span of time in which a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first instant.
    pub start: Timestamp,
    /// The first instant that is no longer in it.
    pub end: Timestamp,
}

/// The longest that a period may be, in seconds: a hundred years. Sums with times then stay in range.
const LONGEST_SECONDS: i64 = 100 * 366 * 86_400;

impl Unit {
    const ALL: [(&'static str, Self); 6] = [
        ("mo", Self::Months),
        ("s", Self::Seconds),
        ("m", Self::Minutes),
        ("h", Self::Hours),
        ("d", Self::Days),
        ("w", Self::Weeks),
    ];

    fn suffix(self) -> &'static str {
        Self::ALL.iter().find(|(_, unit)| *unit == self).map_or("", |(suffix, _)| suffix)
    }

    /// Seconds; `None` for a month.
    fn seconds(self) -> Option<i64> {
        Some(match self {
            Self::Seconds => 1,
            Self::Minutes => 60,
            Self::Hours => 3_600,
            Self::Days => 86_400,
            Self::Weeks => 604_800,
            Self::Months => return None,
        })
    }
}

impl Period {
    /// A number of seconds; `None` for 0.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        (seconds > 0).then_some(Self { count: seconds, unit: Unit::Seconds })
    }

    /// The instant that lies this much after `from`.
    #[must_use]
    pub fn after(self, from: Timestamp) -> Timestamp {
        self.times_after(1, from)
    }

    /// The window that `now` is in, windows being counted from `anchor`. Before `anchor` it is the first one.
    #[must_use]
    pub fn window(self, anchor: Timestamp, now: Timestamp) -> Window {
        let elapsed = now.as_second().saturating_sub(anchor.as_second()).max(0);
        let mut index = match self.seconds() {
            Some(seconds) => elapsed / seconds,
            // No month is longer than 31 days, so this is never too late; the loop finds the exact one.
            None => elapsed / (i64::from(self.count) * 31 * 86_400),
        };
        loop {
            let window =
                Window { start: self.times_after(index, anchor), end: self.times_after(index + 1, anchor) };
            // At the end of time windows are empty.
            if now < window.end || window.end == window.start {
                return window;
            }
            index += 1;
        }
    }

    fn seconds(self) -> Option<i64> {
        Some(self.unit.seconds()? * i64::from(self.count))
    }

    fn times_after(self, times: i64, from: Timestamp) -> Timestamp {
        let moved = match self.seconds() {
            Some(seconds) => {
                let second = from.as_second().saturating_add(seconds.saturating_mul(times));
                Timestamp::new(second, from.subsec_nanosecond())
            }
            None => {
                let months = i64::from(self.count).saturating_mul(times);
                let span = Span::new().try_months(months);
                let civil: DateTime = TimeZone::UTC.to_datetime(from);
                span.and_then(|span| civil.checked_add(span))
                    .and_then(|moved| TimeZone::UTC.to_timestamp(moved))
            }
        };
        moved.unwrap_or(Timestamp::MAX)
    }
}

impl FromStr for Period {
    type Err = NotAPeriod;

    fn from_str(text: &str) -> Result<Self, NotAPeriod> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(NotAPeriod)?;
        let (count, suffix) = text.split_at(digits);
        let unit = Unit::ALL.iter().find(|(name, _)| *name == suffix).ok_or(NotAPeriod)?.1;
        let count: u32 = count.parse().map_err(|_| NotAPeriod)?;
        let seconds = unit.seconds().unwrap_or(31 * 86_400) * i64::from(count);
        if !(1..=LONGEST_SECONDS).contains(&seconds) {
            return Err(NotAPeriod);
        }
        Ok(Self { count, unit })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.suffix())
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Period {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn durations_read_and_write_back() {
        for text in ["30s", "5m", "2h", "7d", "1w", "1mo"] {
            assert_eq!(period(text).to_string(), text);
        }
        for text in
            ["", "s", "0s", "-1d", "1.5h", "1 d", "1y", "1M", "d1", "99999999999d", "4294967295w", "1é"]
        {
            assert_eq!(text.parse::<Period>(), Err(NotAPeriod), "{text:?}");
        }
    }

    #[test]
    fn windows_follow_one_another_from_the_anchor() {
        let anchor = at("2026-01-31T10:00:00Z");
        for (length, now, start, end) in [
            ("1d", "2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z", "2026-02-01T10:00:00Z"),
            ("1d", "2026-02-01T09:59:59.999Z", "2026-01-31T10:00:00Z", "2026-02-01T10:00:00Z"),
            ("1d", "2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z", "2026-02-02T10:00:00Z"),
            ("30s", "2026-01-31T11:00:15Z", "2026-01-31T11:00:00Z", "2026-01-31T11:00:30Z"),
            // From the anchor, not from the window before: the 31st comes back.
            ("1mo", "2026-02-28T10:00:00Z", "2026-02-28T10:00:00Z", "2026-03-31T10:00:00Z"),
            ("1mo", "2030-01-31T09:00:00Z", "2029-12-31T10:00:00Z", "2030-01-31T10:00:00Z"),
            ("1w", "2020-01-01T00:00:00Z", "2026-01-31T10:00:00Z", "2026-02-07T10:00:00Z"),
        ] {
            let expected = Window { start: at(start), end: at(end) };
            assert_eq!(period(length).window(anchor, at(now)), expected, "{length} {now}");
        }
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        assert_eq!(period("1mo").after(Timestamp::MAX), Timestamp::MAX);
        assert_eq!(period("1000mo").window(Timestamp::MAX, Timestamp::MAX).end, Timestamp::MAX);
    }
}
