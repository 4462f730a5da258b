//! The layer that verifies a request's token once, for every route beneath it.

use std::sync::Arc;

use agentwrit_verify::Verifiers;
use tower_layer::Layer;

use crate::gate::Gate;
use crate::service::Guarded;

/// A [`Layer`] that lets a request through when it carries a valid token, and leaves the [`Verified`](crate::Verified)
/// claims in its extensions for each [`RequireScope`](crate::RequireScope) and handler beneath.
///
/// # Example
///
/// ```
/// use agentwrit_tower::{Authenticate, RequireScope, verify::Verifier};
/// use axum::{Router, routing::{get, put}};
///
/// fn app(verifier: Verifier) -> Router {
///     Router::new()
///         .route("/data", get(|| async { "read" }).layer(RequireScope::new("read:data:*")))
///         .route("/data/new", put(|| async { "written" }).layer(RequireScope::new("write:data:*")))
///         .layer(Authenticate::new(verifier))
/// }
/// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer protects nothing until it is applied"]
pub struct Authenticate {
    gate: Gate,
}

impl Authenticate {
    /// Verifies with this verifier, or with one for each of several issuers.
    pub fn new(verifier: impl Into<Verifiers>) -> Self {
        Self { gate: Gate { verifier: Some(verifier.into()), requirement: None } }
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(Arc::new(self.gate.clone()), inner)
    }
}
