//! Measurements of one quantity.

use std::time::Duration;

/// Times, in no order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(super) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// In milliseconds: the time that this part of the samples keeps, by the nearest rank; `None` without samples.
    pub(crate) fn percentile(&self, percent: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rank is a small whole number"
        )]
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().map(milliseconds)
    }

    /// In milliseconds.
    pub(crate) fn median(&self) -> Option<f64> {
        self.percentile(50.0)
    }

    /// In milliseconds; `None` without samples.
    pub(super) fn mean(&self) -> Option<f64> {
        let count = u32::try_from(self.0.len()).ok().filter(|count| *count > 0)?;
        Some(milliseconds(self.0.iter().sum::<Duration>()) / f64::from(count))
    }

    /// Each rounded up to the millisecond, as Lambda bills it.
    pub(super) fn rounded_up(&self) -> Self {
        let up = |sample: &Duration| sample.as_nanos().div_ceil(1_000_000);
        Self(
            self.0
                .iter()
                .map(|sample| Duration::from_millis(u64::try_from(up(sample)).unwrap_or(u64::MAX)))
                .collect(),
        )
    }
}

impl Extend<Duration> for Samples {
    fn extend<T: IntoIterator<Item = Duration>>(&mut self, samples: T) {
        self.0.extend(samples);
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_means_and_rounding() {
        let mut samples = Samples::default();
        assert_eq!((samples.median(), samples.mean()), (None, None));
        samples.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!(samples.percentile(50.0), Some(50.0));
        assert_eq!(samples.percentile(99.0), Some(99.0));
        assert_eq!(samples.percentile(100.0), Some(100.0));
        assert_eq!(samples.percentile(0.0), Some(1.0));
        assert_eq!(samples.mean(), Some(50.5));
        let mut samples = Samples::default();
        samples.push(Duration::from_micros(1_001));
        samples.push(Duration::from_micros(1_000));
        assert_eq!(samples.rounded_up().mean(), Some(1.5));
    }
}
