//! Readiness of verifiers, for health endpoints.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use agentwrit_verify::{Verifier, Verifiers, VerifyError};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

/// [`Service`] for a readiness probe: 200 `{"ready":true}` while tokens can be verified, else 503
/// `{"ready":false,"reason":…}` with `Retry-After`, when protected routes respond 503 too. It does no I/O.
///
/// Put it outside of the layers, and remove an instance that is not ready from the load balancer without restarting it:
/// it becomes ready by itself, and a restart only loses its keys and revocations.
///
/// ```
/// use agentwrit_tower::{Authenticate, Readiness, verify::Verifier};
/// use axum::{Router, routing::get};
///
/// fn app(verifier: Verifier) -> Router {
///     Router::new()
///         .route("/data", get(|| async { "data" }))
///         .layer(Authenticate::new(verifier.clone()))
///         .route_service("/ready", Readiness::new(verifier))
/// }
/// # app(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
#[derive(Clone, Debug)]
pub struct Readiness {
    verifiers: Verifiers,
}

impl Readiness {
    /// Reports the readiness of one verifier, or of several together.
    pub fn new(verifiers: impl Into<Verifiers>) -> Self {
        Self { verifiers: verifiers.into() }
    }

    /// Checks that tokens of every issuer can be verified.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with which every token of an issuer is rejected at present.
    pub fn check(&self) -> Result<(), VerifyError> {
        self.verifiers.iter().try_for_each(Verifier::ready)
    }

    /// Returns the response to a probe.
    #[must_use]
    pub fn response(&self) -> Response<Full<Bytes>> {
        let mut response = match self.check() {
            Ok(()) => Response::new(Full::from(r#"{"ready":true}"#)),
            // The reason is a word of a fixed list: it needs no escape.
            Err(error) => unavailable(format!(r#"{{"ready":false,"reason":"{}"}}"#, error.reason())),
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn unavailable(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

impl<B> Service<Request<B>> for Readiness {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok(self.response()))
    }
}
