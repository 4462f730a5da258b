//! Support for a service's tests: an issuer in memory, and requests with its tokens.
//!
//! ```
//! use agentwrit_tower::RequireScope;
//! use agentwrit_tower::testing::{TestIssuer, get};
//! use axum::{Router, routing};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let issuer = TestIssuer::new();
//! let app = Router::new()
//!     .route("/data", routing::get(|| async { "data" }))
//!     .layer(RequireScope::new("read:data:*").verifier(issuer.verifier()));
//!
//! let request = get::<axum::body::Body>("/data", &issuer.token(&["read:data:7"]));
//! assert_eq!(app.oneshot(request).await.unwrap().status(), 403);
//! # }
//! ```
//!
//! Calls a handler without any layer:
//!
//! ```
//! use agentwrit_tower::{Verified, testing::{TestIssuer, verified}};
//!
//! fn may_read(caller: &Verified) -> bool {
//!     caller.scopes().iter().any(|scope| scope.action() == "read")
//! }
//!
//! let issuer = TestIssuer::new();
//! assert!(may_read(&verified(&issuer, &["read:data:7"])));
//! ```
#![expect(clippy::missing_panics_doc, clippy::expect_used, reason = "a test that asks for nonsense should stop there")]

pub use agentwrit_verify::testing::{ManualClock, TestFollower, TestIssuer};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request};

use crate::verified::Verified;

/// Builds `GET <path>` with this token.
#[must_use]
pub fn get<B: Default>(path: &str, token: &str) -> Request<B> {
    request(Method::GET, path, token)
}

/// Builds `<method> <path>` with this token and an empty body.
#[must_use]
pub fn request<B: Default>(method: Method, path: &str, token: &str) -> Request<B> {
    let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, bearer(token));
    request.body(B::default()).expect("a path and a token")
}

/// Returns the value of an `Authorization` header with this token.
#[must_use]
pub fn bearer(token: &str) -> HeaderValue {
    format!("Bearer {token}").parse().expect("a token")
}

/// Returns the claims of a new token with these scopes, in the form that a handler extracts.
#[must_use]
pub fn verified(issuer: &TestIssuer, scopes: &[&str]) -> Verified {
    let token = issuer.verifier().verify_token(&issuer.token(scopes)).expect("a valid token");
    Verified::new(token)
}
