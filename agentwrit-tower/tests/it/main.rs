//! What agentwrit-tower promises, seen from outside. One module per topic, one binary because linking is slow.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::string_slice,
    reason = "what is unexpected here fails the test"
)]

mod authorization_header;
mod axum_router;
mod concurrency;
mod construction;
mod extractors;
mod nesting;
mod observation;
mod plain_tower;
mod refusals;
mod support;
