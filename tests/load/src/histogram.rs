//! Latencies in bounded memory: an HDR histogram of nanoseconds.
//!
//! 1. A quantile has two significant digits, is never below the true one, and never above the maximum.
//! 2. Count and maximum are exact.
//! 3. Times above an hour count as an hour.

use std::time::Duration;

const SIGNIFICANT_DIGITS: u8 = 2;
const MAX_NANOSECONDS: u64 = 3_600_000_000_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    nanoseconds: hdrhistogram::Histogram<u64>,
    /// The exact maximum; the histogram's own is rounded.
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the number of digits is a valid constant")]
        let nanoseconds = hdrhistogram::Histogram::new(SIGNIFICANT_DIGITS).expect("0 to 5 digits");
        Self { nanoseconds, max: 0 }
    }
}

impl Histogram {
    #[expect(clippy::expect_used, reason = "the histogram grows up to any time below an hour")]
    pub(crate) fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(MAX_NANOSECONDS).min(MAX_NANOSECONDS);
        // Not `saturating_record`, which does not grow the histogram.
        self.nanoseconds.record(nanoseconds).expect("a time of at most an hour");
        self.max = self.max.max(nanoseconds);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.nanoseconds += &other.nanoseconds;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.nanoseconds.len()
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns the quantile `thousandths`: 500 is the median, 990 the 99th percentile. Zero without times.
    pub(crate) fn quantile(&self, thousandths: u16) -> Duration {
        let value = self.nanoseconds.value_at_quantile(f64::from(thousandths) / 1000.0);
        Duration::from_nanos(value.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanoseconds: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        nanoseconds.into_iter().for_each(|time| histogram.record(Duration::from_nanos(time)));
        histogram
    }

    #[test]
    fn empty_histogram_is_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.count(), empty.quantile(990), empty.max()), (0, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn quantiles_follow_nearest_rank() {
        let hundred = of(1..=100);
        for (thousandths, expected) in [(10, 1), (500, 50), (501, 51), (990, 99), (991, 100), (1000, 100)] {
            assert_eq!(hundred.quantile(thousandths), Duration::from_nanos(expected), "{thousandths}");
        }
        assert_eq!(hundred.count(), 100);
    }

    #[test]
    fn quantile_is_never_below_and_hardly_above_true_one() {
        // Times over nine powers of ten, in a fixed disorder.
        let mut times: Vec<u64> =
            (0..20_000_u64).map(|i| (i * 7919 % 20_011) * 10_u64.pow(u32::try_from(i % 6).unwrap())).collect();
        let histogram = of(times.iter().copied());
        times.sort_unstable();
        for thousandths in [1, 100, 250, 500, 900, 990, 999, 1000_u16] {
            let exact = times[(times.len() * usize::from(thousandths)).div_ceil(1000) - 1];
            let found = u64::try_from(histogram.quantile(thousandths).as_nanos()).unwrap();
            assert!(found >= exact && found <= exact + exact / 100 + 1, "{thousandths}: {found} for {exact}");
        }
        assert_eq!(histogram.max(), Duration::from_nanos(*times.last().unwrap()));
    }

    #[test]
    fn merge_equals_recording_together() {
        let (mut left, right) = (of([5, 1_000_000]), of([70_000, 900_000_000_000, 3]));
        left.merge(&right);
        assert_eq!(left, of([5, 1_000_000, 70_000, 900_000_000_000, 3]));
    }

    #[test]
    fn times_above_an_hour_count_as_an_hour() {
        assert_eq!(of([u64::MAX]).max(), Duration::from_secs(3600));
    }
}
