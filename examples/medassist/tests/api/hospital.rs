//! Hospital in memory, and an issuer that it accepts.

use std::sync::Arc;

use agentwrit_tower::testing::{TestIssuer, request};
use axum::{Router, body::Body};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use medassist::{Store, routes};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) struct Hospital {
    pub(crate) issuer: TestIssuer,
    routes: Router,
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Hospital {
    pub(crate) fn new() -> Self {
        let issuer = TestIssuer::new();
        let store = Store::with_made_up_patients().unwrap();
        let routes = routes(store, issuer.verifier(), Arc::new(issuer.clock().clone()));
        Self { issuer, routes }
    }

    pub(crate) async fn get(&self, path: &str, scopes: &[&str]) -> Response {
        self.send(Method::GET, path, &self.issuer.token(scopes), Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, scopes: &[&str], body: impl Into<Body>) -> Response {
        self.send(Method::POST, path, &self.issuer.token(scopes), body.into()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, token: &str, body: Body) -> Response {
        let request = request::<()>(method, path, token).map(|()| body);
        let (head, body) = self.routes.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Response { status: head.status, headers: head.headers, body }
    }
}

impl Response {
    /// Status and error code, of an response that is a whole problem.
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        assert_eq!(self.headers["cache-control"], "no-store");
        assert_eq!(self.headers["x-request-id"], self.body["request_id"].as_str().unwrap());
        assert_eq!(self.body["status"], self.status.as_u16());
        (self.status.as_u16(), self.body["error_code"].as_str().unwrap())
    }

    pub(crate) fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }
}
