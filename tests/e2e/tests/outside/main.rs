//! Faults that were found from outside: one module per group, one file per fault or kind of fault. Each test failed on
//! the code that had the fault.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

mod authority;
mod availability;
mod compatibility;
mod operation;
mod raw;
