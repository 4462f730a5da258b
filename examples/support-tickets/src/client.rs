//! HTTP client of the ticket service.

use std::time::Duration;

use agentwrit_protocol::Problem;
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Client;
use serde_json::Value;

use crate::Failure;

/// Request to the service, without a token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

impl ServiceRequest {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body) }
    }
}

/// Response of the service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServiceResponse {
    /// 2xx with its body.
    Done { status: StatusCode, body: Value },
    /// Any other status.
    Rejected(Rejection),
}

impl ServiceResponse {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Done { status, .. } => *status,
            Self::Rejected(rejection) => rejection.status,
        }
    }
}

/// Rejection with the rule that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    /// The scope that the challenge asks for (RFC 6750 §3), or the problem's detail.
    pub(crate) rule: String,
}

/// HTTP client of one service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceClient {
    http: Client,
    url: String,
}

impl ServiceClient {
    pub(crate) fn new(url: String) -> Result<Self, Failure> {
        let http = Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url })
    }

    pub(crate) async fn send(
        &self,
        authorization: &HeaderValue,
        request: &ServiceRequest,
    ) -> Result<ServiceResponse, Failure> {
        let mut sent = self.http.request(request.method.clone(), format!("{}{}", self.url, request.path));
        sent = sent.header(header::AUTHORIZATION, authorization);
        if let Some(body) = &request.body {
            sent = sent.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = sent.send().await?;
        let status = response.status();
        let scope = response.headers().get(header::WWW_AUTHENTICATE).and_then(required_scope);
        let body = response.bytes().await?;
        if status.is_success() {
            return Ok(ServiceResponse::Done { status, body: serde_json::from_slice(&body)? });
        }
        let problem = agentwrit_json::object_from_slice::<Problem>(&body, 4).ok();
        let (code, detail) = problem.map(|problem| (problem.error_code, problem.detail)).unwrap_or_default();
        let rule = scope.map_or(detail, |scope| format!("requires {scope}"));
        Ok(ServiceResponse::Rejected(Rejection { status, code, rule }))
    }
}

/// Returns the parameter `scope` of a challenge.
fn required_scope(challenge: &HeaderValue) -> Option<String> {
    let (_, rest) = challenge.to_str().ok()?.split_once("scope=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}
