//! Guarantees of the broker under faults of process, disk and order (design §3).
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod concurrency;
mod crash;
mod disk;
mod journal;
mod load;
