//! Results of the requests of a run.

use std::time::{Duration, Instant};

use crate::{histogram::Histogram, scenario::LoadError};

/// Times by operation, and failures.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    times: Vec<(&'static str, Histogram)>,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    /// Duration of the run.
    pub(crate) took: Duration,
}

impl Tally {
    /// Measures successful operations.
    pub(crate) async fn time<T>(
        &mut self,
        operation: &'static str,
        running: impl Future<Output = Result<T, LoadError>>,
    ) -> Result<T, LoadError> {
        let started = Instant::now();
        let done = running.await?;
        self.record(operation, started.elapsed());
        Ok(done)
    }

    pub(crate) fn record(&mut self, operation: &'static str, time: Duration) {
        self.of(operation).record(time);
    }

    pub(crate) fn fail(&mut self, failure: &LoadError) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| failure.to_string());
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (operation, times) in &other.times {
            self.of(operation).merge(times);
        }
        self.failed += other.failed;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
    }

    /// Merges the duration too: for consecutive runs.
    pub(crate) fn append(&mut self, later: &Self) {
        self.merge(later);
        self.took += later.took;
    }

    pub(crate) fn operations(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        self.times.iter().map(|(operation, times)| (*operation, times))
    }

    pub(crate) fn find(&self, operation: &str) -> Option<&Histogram> {
        self.times.iter().find(|(known, _)| *known == operation).map(|(_, times)| times)
    }

    /// Operations per second.
    pub(crate) fn rate(&self, operation: &str) -> f64 {
        per_second(self.find(operation).map_or(0, Histogram::count), self.took)
    }

    fn of(&mut self, operation: &'static str) -> &mut Histogram {
        let known = self.times.iter().position(|(known, _)| *known == operation);
        let index = known.unwrap_or_else(|| {
            self.times.push((operation, Histogram::default()));
            self.times.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found or pushed just now")]
        &mut self.times[index].1
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is shown with few digits")]
pub(crate) fn per_second(count: u64, took: Duration) -> f64 {
    if took.is_zero() { 0.0 } else { count as f64 / took.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_count_over_duration() {
        let mut tally = Tally { took: Duration::from_millis(500), ..Tally::default() };
        (0..10).for_each(|_| tally.record("a", Duration::from_micros(1)));
        assert_eq!(tally.rate("a").to_string(), "20");
        assert_eq!(tally.rate("b").to_string(), "0");
        assert_eq!(per_second(1, Duration::ZERO).to_string(), "0");
    }

    #[test]
    fn concurrent_runs_share_duration_and_consecutive_ones_add_it() {
        let half = |operation| {
            let mut tally = Tally { took: Duration::from_secs(1), ..Tally::default() };
            tally.record(operation, Duration::from_micros(1));
            tally
        };
        let mut together = half("a");
        together.merge(&half("a"));
        assert_eq!((together.took, together.rate("a").to_string()), (Duration::from_secs(1), "2".to_owned()));
        let mut in_a_row = half("a");
        in_a_row.append(&half("b"));
        assert_eq!((in_a_row.took, in_a_row.rate("a").to_string()), (Duration::from_secs(2), "0.5".to_owned()));
    }

    #[test]
    fn keeps_first_failure() {
        let mut tally = Tally::default();
        for text in ["one", "two"] {
            tally.fail(&LoadError::Runtime { cause: text.to_owned() });
        }
        let mut all = Tally::default();
        all.merge(&tally);
        assert_eq!(all.failed, 2);
        assert!(all.first_failure.unwrap().contains("one"));
    }
}
