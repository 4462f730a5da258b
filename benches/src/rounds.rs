//! Interleaved rounds: contenders, tokens, and results.

use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Runs one operation on each of the corpus's tokens that it is given; true if every one was accepted.
type Batch<'a> = Box<dyn Fn(&[usize]) -> bool + Sync + 'a>;

/// Contender of a benchmark.
pub struct Contender<'a> {
    name: &'static str,
    every: usize,
    batch: Batch<'a>,
}

impl<'a> Contender<'a> {
    /// `operation` takes the number of a token in the corpus and returns `true` if the token was accepted.
    pub fn new(name: &'static str, operation: impl Fn(usize) -> bool + Sync + 'a) -> Self {
        // The loop is compiled into the batch, so that the dynamic call is paid once for all of it.
        let batch = Box::new(move |picks: &[usize]| picks.iter().all(|pick| black_box(operation(black_box(*pick)))));
        Self { name, every: 1, batch }
    }

    /// Measures only one in `every` picks: for a contender so much slower that it would take all the time.
    #[must_use]
    pub fn sampled(mut self, every: usize) -> Self {
        self.every = every.max(1);
        self
    }

    /// Returns one thread's time for one operation.
    fn time(&self, picks: &[usize]) -> f64 {
        let picks = picks.get(..picks.len() / self.every).unwrap_or_default();
        let start = Instant::now();
        let accepted = (self.batch)(picks);
        let elapsed = start.elapsed();
        assert!(accepted, "`{}` rejected a token that it should accept", self.name);
        nanoseconds(elapsed, picks.len())
    }

    /// Returns the mean time of several concurrent threads for one operation.
    fn time_on(&self, threads: usize, picks: &[usize]) -> f64 {
        let start = Barrier::new(threads);
        let run = |thread: usize| {
            // Each thread walks the same tokens from another place, so that none follows in another's cache lines.
            let mut own = picks.to_vec();
            own.rotate_left(picks.len() * thread / threads);
            start.wait();
            self.time(&own)
        };
        let times: Vec<f64> = thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN)).collect()
        });
        times.iter().sum::<f64>() / as_float(threads)
    }
}

impl fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Settings of a measurement.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Number of measurements of each contender, after one round of warm-up.
    pub rounds: usize,
    /// Number of threads that run each contender concurrently.
    pub threads: usize,
}

impl Schedule {
    /// Measures every contender in every round; `picks` returns the tokens of a round.
    ///
    /// # Panics
    ///
    /// If a contender rejects a token.
    pub fn measure(self, contenders: &[Contender<'_>], picks: impl Fn(usize) -> Vec<usize>) -> Vec<Series> {
        let mut series: Vec<Series> = contenders.iter().map(|contender| Series::new(contender.name)).collect();
        for round in 0..=self.rounds {
            let picks = picks(round);
            // Another contender starts each round, and the order is reversed in every other one, so that none always runs
            // after the same one.
            for turn in 0..contenders.len() {
                let turn = (turn + round / 2) % contenders.len();
                let turn = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
                let (Some(contender), Some(series)) = (contenders.get(turn), series.get_mut(turn)) else { continue };
                let time =
                    if self.threads > 1 { contender.time_on(self.threads, &picks) } else { contender.time(&picks) };
                if round > 0 {
                    series.nanoseconds.push(time);
                }
            }
        }
        series
    }
}

/// Time of one contender for an operation, by round.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name of the contender.
    pub name: &'static str,
    nanoseconds: Vec<f64>,
}

impl Series {
    fn new(name: &'static str) -> Self {
        Self { name, nanoseconds: Vec::new() }
    }

    /// Returns the median over the rounds, in nanoseconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        quantile(&self.nanoseconds, 0.5)
    }

    /// Returns the 10th and the 90th percentile over the rounds, in nanoseconds.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        (quantile(&self.nanoseconds, 0.1), quantile(&self.nanoseconds, 0.9))
    }

    /// Returns the ratio to `other`: the median of the ratios within each round.
    #[must_use]
    pub fn ratio_to(&self, other: &Self) -> f64 {
        let ratios: Vec<f64> = self.nanoseconds.iter().zip(&other.nanoseconds).map(|(own, its)| own / its).collect();
        quantile(&ratios, 0.5)
    }
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = as_float(sorted.len().saturating_sub(1));
    sorted.get(as_index(last * at)).copied().unwrap_or(f64::NAN)
}

fn nanoseconds(elapsed: Duration, operations: usize) -> f64 {
    elapsed.as_secs_f64() * 1e9 / as_float(operations)
}

/// Converts a count to a float.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of operations and rounds are far below 2^52")]
pub fn as_float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list of rounds")]
fn as_index(place: f64) -> usize {
    place.round() as usize
}
