//! Issuers of foreign tokens for tests: keys that sign, an HTTP server that publishes them and misbehaves on demand, and a
//! fake Kubernetes API server.
//!
//! Everything runs in threads of the test's process, on free ports of the loopback interface, and ends with it. Requests are
//! counted, so that a test can state how many a broker may send.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test harness reports by panicking")]

mod api_server;
mod http;
mod provider;
mod signing_key;

pub use self::{
    api_server::{ApiServer, Review},
    http::{Body, HttpServer, Reply, Request},
    provider::{IdentityProvider, Serves},
    signing_key::{Algorithm, SigningKey},
};
