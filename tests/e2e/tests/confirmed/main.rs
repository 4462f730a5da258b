//! Confirmed revocation and withdrawal with real processes: a broker, or three on PostgreSQL, and services that report.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod cache;
mod enrolment;
mod keys;
mod revocation;
mod rotations;
mod site;
