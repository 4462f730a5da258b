//! Tests of the client against a scripted broker. `tests/e2e` runs it against the real one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests report by panicking"
)]

mod admin;
mod agent;
mod anyone;
#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
mod attaching;
#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
mod attaching_proofs;
mod attested;
mod authentication;
mod broker;
mod failures;
mod holding;
mod lists;
mod live;
mod proofs;
mod retries;
mod secrets;
mod time;
mod tls;
