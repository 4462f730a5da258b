//! The pages over HTTP, with a real broker and the real service.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests report by panicking")]

mod arrival;
mod confinement;
mod ending;
mod hostile;
mod language_model;
mod operator;
mod page;
mod scenarios;
