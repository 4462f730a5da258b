//! The desk as a browser, a model and an attacker meet it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests report by panicking")]

mod arrival;
mod ending;
mod model;
mod once;
mod operator;
mod page;
mod running;
mod service;
mod tickets;
