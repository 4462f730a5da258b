//! The real `awrit` against the real broker, one file per command: exit codes, stdout and stderr, whole.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of an answer is a failed test")]

mod agent;
mod app;
mod audit;
mod audit_verify;
mod completions;
mod confirmation;
mod errors;
mod health;
mod init;
mod inventory;
mod keys;
mod launch_token;
mod proof;
mod revocations;
mod revoke;
mod stub;
mod terminal;
mod token;
mod token_inspect;
mod verifier;
