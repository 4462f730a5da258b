//! Faults that were found from outside: one module per group, one file per fault or kind of fault. Each test failed on
//! the code that had the fault.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod authority;
mod availability;
mod certificates;
mod compatibility;
mod operation;
mod raw;
