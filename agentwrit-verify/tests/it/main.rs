//! Tests of agentwrit-verify through its public API. One module per topic, one binary because linking is slow.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "an unexpected value fails the test"
)]

mod attacks;
mod cache;
mod claims;
mod confirmation_model;
mod delegation;
mod ed25519;
mod encodings;
mod feed;
#[cfg(feature = "remote")]
mod follower;
#[cfg(feature = "remote")]
mod follower_keys;
#[cfg(feature = "remote")]
mod follower_reports;
mod inspection;
mod interop;
mod key_announcements;
mod network;
mod proof_urls;
mod proofs;
#[cfg(feature = "es256")]
mod proofs_es256;
#[cfg(feature = "remote")]
mod remote;
mod reports;
mod scopes;
mod sender_constraint;
mod support;
mod verifiers;
