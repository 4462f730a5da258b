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

use std::sync::atomic::{AtomicU64, Ordering};

use agentwrit_verify::proof::ProofRequest;
use agentwrit_verify::{Clock as _, PublicKey, Thumbprint};
use ed25519_dalek::SigningKey;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri};

use crate::sender::DPOP;
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

/// Key of an agent, and requests with tokens that are bound to it (DPoP, RFC 9449).
///
/// A layer that was just made demands a nonce, for its first six seconds: advance the clock, or send a proof with the
/// [`nonce`](Self::proof_with_nonce).
///
/// ```
/// use std::time::Duration;
///
/// use agentwrit_tower::RequireScope;
/// use agentwrit_tower::testing::{TestIssuer, TestKey};
/// use axum::{Router, body::Body, routing};
/// use http::Method;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (issuer, key) = (TestIssuer::new(), TestKey::new());
/// let layer = RequireScope::new("read:data:*").verifier(issuer.verifier()).external_url("https://api.example.com");
/// let app = Router::new().route("/data", routing::get(|| async { "data" })).layer(layer);
/// issuer.clock().advance(Duration::from_secs(6));
///
/// let token = issuer.bound_token(&["read:data:7"], key.thumbprint());
/// let request = key.request::<Body>(&issuer, Method::GET, "https://api.example.com/data", &token);
/// assert_eq!(app.oneshot(request).await.unwrap().status(), 403);
/// # }
/// ```
#[derive(Debug)]
pub struct TestKey {
    key: SigningKey,
    proofs: AtomicU64,
}

impl TestKey {
    /// A fixed key.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed([3; 32])
    }

    /// The key of a seed.
    #[must_use]
    pub fn with_seed(seed: [u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(&seed), proofs: AtomicU64::new(0) }
    }

    /// Returns the thumbprint of the key, for [`TestIssuer::bound_token`].
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        PublicKey::from_bytes(self.key.verifying_key().as_bytes()).expect("a public key").thumbprint()
    }

    /// Signs a proof for a request with this token, at the issuer's time. Each proof is another one.
    #[must_use]
    pub fn proof(&self, issuer: &TestIssuer, method: &Method, url: &str, token: &str) -> String {
        self.proof_request(issuer, method, url, token).sign(&self.key)
    }

    /// Signs a proof with the nonce of a response's `DPoP-Nonce` header.
    #[must_use]
    pub fn proof_with_nonce(
        &self,
        issuer: &TestIssuer,
        method: &Method,
        url: &str,
        token: &str,
        nonce: &str,
    ) -> String {
        self.proof_request(issuer, method, url, token).nonce(nonce).sign(&self.key)
    }

    /// Builds `<method> <path of the URL>` with this token, a proof and an empty body.
    #[must_use]
    pub fn request<B: Default>(&self, issuer: &TestIssuer, method: Method, url: &str, token: &str) -> Request<B> {
        let proof = self.proof(issuer, &method, url, token);
        let uri: Uri = url.parse().expect("a URL");
        let mut request = request(method, uri.path_and_query().map_or("/", PathAndQuery::as_str), token);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, format!("DPoP {token}").parse().expect("a token"));
        headers.insert(&DPOP, proof.parse().expect("a proof"));
        request
    }

    fn proof_request<'a>(
        &self,
        issuer: &TestIssuer,
        method: &'a Method,
        url: &'a str,
        token: &'a str,
    ) -> ProofRequest<'a> {
        let number = u128::from(self.proofs.fetch_add(1, Ordering::Relaxed));
        ProofRequest::new(method.as_str(), url, issuer.clock().now(), number.to_be_bytes()).access_token(token)
    }
}

impl Default for TestKey {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the claims of a new token with these scopes, in the form that a handler extracts.
#[must_use]
pub fn verified(issuer: &TestIssuer, scopes: &[&str]) -> Verified {
    let token = issuer.verifier().verify_token(&issuer.token(scopes)).expect("a valid token");
    Verified::new(token)
}
