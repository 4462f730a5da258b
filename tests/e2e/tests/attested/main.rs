//! Agents that another issuer attests, with the real binaries: contract §14.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]

mod awrit;
mod brokers;
mod issuer;
mod pods;
mod refusals;
mod registration;
mod workload;
