//! How long things took, in bounded memory.
//!
//! 1. Buckets are linear within each power of two: a quantile is at most 1/128 above the true one, never below it.
//! 2. Count and maximum are exact.
//! 3. The quantile `q` is the smallest recorded time that at least `q` of all times don't exceed (nearest rank).

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u64 = 128;
/// Below this, each nanosecond has a bucket of its own.
const EXACT: u64 = 2 * STEPS;
/// More than an hour is as good as an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Times, counted by length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        let index = bucket_of(nanoseconds);
        if index >= self.buckets.len() {
            self.buckets.resize(index.saturating_add(1), 0);
        }
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }

    /// The quantile of `thousandths`: 500 is the median, 990 the 99th percentile. Zero when nothing was recorded.
    pub(crate) fn quantile(&self, thousandths: u64) -> Duration {
        let rank = self.count.saturating_mul(thousandths).div_ceil(1000).max(1);
        let mut passed = 0_u64;
        for (index, bucket) in self.buckets.iter().enumerate() {
            passed += bucket;
            if passed >= rank {
                return Duration::from_nanos(end_of(index).min(self.longest));
            }
        }
        self.longest()
    }
}

fn bucket_of(nanoseconds: u64) -> usize {
    let index = if nanoseconds < EXACT {
        nanoseconds
    } else {
        // The leading 8 bits say where; each power of two beyond the exact ones adds `STEPS` buckets.
        let shift = u64::from(nanoseconds.ilog2()) - 7;
        shift * STEPS + (nanoseconds >> shift)
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The longest time of a bucket.
fn end_of(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    if index < EXACT {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index - shift * STEPS + 1) << shift) - 1
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
    fn nothing_recorded_is_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.count(), empty.quantile(990), empty.longest()), (0, Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn one_time_is_every_quantile() {
        let one = of([1_234_567]);
        for thousandths in [0, 1, 500, 990, 1000] {
            assert_eq!(one.quantile(thousandths), Duration::from_nanos(1_234_567), "{thousandths}");
        }
    }

    #[test]
    fn quantiles_follow_the_nearest_rank() {
        let hundred = of(1..=100);
        for (thousandths, expected) in [(0, 1), (10, 1), (500, 50), (501, 51), (990, 99), (991, 100), (1000, 100)] {
            assert_eq!(hundred.quantile(thousandths), Duration::from_nanos(expected), "{thousandths}");
        }
        assert_eq!(hundred.count(), 100);
    }

    #[test]
    fn a_quantile_is_never_below_and_hardly_above_the_true_one() {
        // A spread of times over nine powers of ten, in a fixed disorder.
        let mut times: Vec<u64> =
            (0..20_000_u64).map(|i| (i * 7919 % 20_011) * 10_u64.pow(u32::try_from(i % 6).unwrap())).collect();
        let histogram = of(times.iter().copied());
        times.sort_unstable();
        for thousandths in [1, 100, 250, 500, 900, 990, 999, 1000] {
            let rank = (times.len() * thousandths).div_ceil(1000);
            let exact = times[rank - 1];
            let found = u64::try_from(histogram.quantile(thousandths as u64).as_nanos()).unwrap();
            assert!(found >= exact && found <= exact + exact / 128 + 1, "{thousandths}: {found} for {exact}");
        }
        assert_eq!(histogram.longest(), Duration::from_nanos(*times.last().unwrap()));
    }

    #[test]
    fn buckets_are_gapless_and_know_their_end() {
        for time in (0..2000).chain((0..50).map(|power| (1_u64 << power) + power)) {
            let index = bucket_of(time);
            assert!(end_of(index) >= time, "{time}");
            assert_eq!(bucket_of(end_of(index)), index, "{time}");
            assert_eq!(bucket_of(end_of(index) + 1), index + 1, "{time}");
        }
    }

    #[test]
    fn merging_is_recording_together() {
        let (mut left, right) = (of([5, 1_000_000]), of([70_000, 900_000_000_000, 3]));
        left.merge(&right);
        assert_eq!(left, of([5, 1_000_000, 70_000, 900_000_000_000, 3]));
    }

    #[test]
    fn endless_times_do_not_grow_it() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.longest(), Duration::from_secs(3600));
        assert!(histogram.buckets.len() < 5000);
    }
}
