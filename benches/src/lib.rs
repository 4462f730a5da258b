//! Shared parts of the benchmarks.
//!
//! 1. Every contender verifies the same tokens in the same round, and the rounds interleave: a slow second of the
//!    machine affects all of them.
//! 2. A figure is the median over the rounds; a ratio is the median of the ratios within each round.
//! 3. Every result is checked. A contender that rejects a valid token stops the benchmark.
//! 4. A peer that can be used in two ways is used in the faster one.

pub mod bound;
pub mod caches;
pub mod corpus;
pub mod delegated;
pub mod loopback;
pub mod nothing;
pub mod peers;
pub mod report;
pub mod rounds;

/// Returns whether the command line asks for a group: any of its words is in the group's name, or it has none.
#[must_use]
pub fn is_wanted(group: &str) -> bool {
    // cargo itself passes `--bench`.
    let mut words = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| group.contains(&word))
}
