//! What the benchmarks share.
//!
//! 1. Every contender meets the same tokens in the same round, and the rounds interleave: a machine that slows down for
//!    a second slows everyone.
//! 2. A figure is the median over the rounds; a ratio is the median of the ratios within each round.
//! 3. Every answer is checked. A contender that refuses a token it should accept stops the benchmark.
//! 4. Where two ways of using a peer are possible, it gets the faster one.

pub mod caches;
pub mod corpus;
pub mod peers;
pub mod report;
pub mod rounds;
