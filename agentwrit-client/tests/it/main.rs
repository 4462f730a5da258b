//! The client against a scripted broker. Against the real one it runs in `tests/e2e`.
#![expect(clippy::unwrap_used, reason = "helpers of tests report by panicking")]

mod admin;
mod agent;
mod anyone;
#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
mod attaching;
mod authentication;
mod broker;
mod failures;
mod holding;
mod lists;
mod live;
mod retries;
mod secrets;
mod time;
mod tls;
