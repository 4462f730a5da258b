//! The real broker binary, driven over the wire.
//!
//! 1. A [`Broker`] is a process of its own, on a free port, with its files in a directory of its own. It is killed by
//!    its process id when dropped; when the test fails its output is shown.
//! 2. A [`Request`] is sent by awaiting it and gives an [`Response`], whose whole body is compared, member by member.
//! 3. What can't be known beforehand is described by a pattern: `"$hex(64)"`, `"$jwt"`, `"$time"`; see [`pattern`].
//! 4. [`Brokers`] are several on one PostgreSQL database, each behind a [`Link`] to it that can be held or cut; a
//!    [`Balancer`] stands in front of them, a [`Mirror`] between a broker and its followers.
//!
//! The binary is `AGENTWRIT_BROKER_BIN`, or is built once by `cargo build`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test harness reports by panicking")]
#![expect(clippy::indexing_slicing, reason = "a missing member of a body is a failed test")]
#![expect(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "assertions panic, and may be all that is wanted"
)]

mod awrit;
mod balancer;
mod broker;
mod brokers;
mod dpop;
mod forge;
mod lifecycle;
mod link;
mod mirror;
mod mutation;
pub mod pattern;
mod ports;
mod protected_service;
mod registration;
mod request;
mod response;
mod signed;
mod stored;
mod waiting;
mod wire;

pub use self::{
    awrit::{Run, awrit, awrit_command, stable},
    balancer::Balancer,
    broker::{ADMIN_SECRET, Broker, Stopped},
    brokers::{Brokers, clock_offset, signal},
    dpop::DpopAgent,
    forge::Forger,
    lifecycle::{Agent, jti},
    link::Link,
    mirror::Mirror,
    mutation::{Field, Mutation},
    ports::free_port,
    protected_service::ProtectedService,
    registration::{AppCredentials, Key, Registration, payload, protected_header},
    request::Request,
    response::Response,
    signed::{assert_whole_chain, event_hash, revocation_key},
    stored::{alter_database, hold_write_lock, rows_of_tables},
    waiting::{next_second, until_expired, until_second},
    wire::{Heard, Launch, Numbers, Wire},
};

/// The code of the project's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeOfTheProject;

/// So does that of the developers' guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/developers/rust.md")]
struct GuideForRust;

/// And that of the page for those who come from other middleware.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-other-middleware.md")]
struct GuideFromOtherMiddleware;
