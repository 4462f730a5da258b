//! Whether tokens can be judged, for health endpoints.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use agentwrit_verify::{Verifier, Verifiers, VerifyError};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tower_service::Service;

/// A [`Service`] for a readiness probe: 200 `{"ready":true}` while tokens can be judged, else 503
/// `{"ready":false,"reason":…}` with `Retry-After`, when protected routes answer 503 too. It does no I/O.
///
/// Put it outside of the layers, and take an instance that isn't ready out of the load balancer, not out of service: it
/// gets ready by itself, a restart would only lose what it knows.
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
    /// Of this verifier, or of all of several.
    pub fn new(verifiers: impl Into<Verifiers>) -> Self {
        Self { verifiers: verifiers.into() }
    }

    /// Whether tokens can be judged.
    ///
    /// # Errors
    ///
    /// What every token of an issuer is answered with at present.
    pub fn check(&self) -> Result<(), VerifyError> {
        self.verifiers.iter().try_for_each(Verifier::ready)
    }

    /// The answer to a probe.
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
