//! Properties for fuzzing, one module per fuzz target, each with a `check` function that panics when a property is
//! violated.
//!
//! 1. The fuzz targets (`fuzz/fuzz_targets`) call them under libFuzzer with `AddressSanitizer`: `scripts/fuzz.sh`.
//! 2. `tests/replay.rs` calls them with every input under `fuzz/seeds`, in an ordinary test run.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a property that fails is reported by panicking"
)]

pub mod feed;
pub mod key_set;
pub mod known_key;
pub mod proof;
pub mod report;
pub mod scope;
pub mod signed;
pub mod token;
