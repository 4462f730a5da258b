//! Tests of agentwrit-tower's public interface. One module per topic, one binary because linking is slow.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "what is unexpected here fails the test"
)]

mod at_least;
mod authorization_header;
mod axum_router;
#[cfg(feature = "testing")]
mod bound_tokens;
mod challenge_parameters;
mod concurrency;
mod construction;
mod drain;
mod extractors;
mod grpc;
mod lingering;
#[cfg(all(feature = "long-responses", feature = "testing"))]
mod long_responses;
#[cfg(feature = "metrics")]
mod metrics;
mod nesting;
mod observation;
mod on_rejection;
mod optional;
mod order_of_layers;
mod path_identifiers;
mod path_patterns;
mod permits;
mod plain_tower;
mod readiness;
mod rejections;
mod requirements;
mod spans;
mod support;
mod token_sources;
