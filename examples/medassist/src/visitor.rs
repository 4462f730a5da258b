//! HTTP client of the hospital.

use std::time::Duration;

use agentwrit_protocol::Problem;
use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Client;
use serde_json::Value;

use crate::Failure;

/// HTTP client of one hospital.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    http: Client,
    url: String,
}

/// Request with or without a token.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Option<Value>,
}

/// Response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    /// Scope that a 403 asks for in its challenge (RFC 6750 §3.1).
    pub(crate) scope_needed: Option<String>,
    body: String,
}

impl Visitor {
    pub(crate) fn of(url: String) -> Result<Self, Failure> {
        let http = Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url })
    }

    pub(crate) async fn send(&self, request: &Request) -> Result<Response, Failure> {
        let mut call = self.http.request(request.method.clone(), format!("{}{}", self.url, request.path));
        if let Some(authorization) = &request.authorization {
            call = call.header(header::AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        let response = call.send().await?;
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let scope_needed = challenge.and_then(scope_of_challenge).map(str::to_owned);
        Ok(Response { status: response.status(), scope_needed, body: response.text().await? })
    }
}

fn scope_of_challenge(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once(r#"scope=""#)?;
    rest.split_once('"').map(|(scope, _)| scope)
}

impl Response {
    /// Returns the body, as text if it is not JSON.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| Value::String(self.body.clone()))
    }

    /// Summarises the body: the length of a list, the detail of a problem.
    pub(crate) fn summary(&self) -> String {
        if let Ok(problem) = agentwrit_json::object_from_slice::<Problem>(self.body.as_bytes(), 4)
            && !problem.detail.is_empty()
        {
            return problem.detail;
        }
        match serde_json::from_str(&self.body) {
            Ok(Value::Array(entries)) if entries.len() == 1 => "1 entry".to_owned(),
            Ok(Value::Array(entries)) => format!("{} entries", entries.len()),
            Ok(Value::Object(members)) => members.get("id").map(|id| format!("id {id}")).unwrap_or_default(),
            Ok(_) | Err(_) => String::new(),
        }
    }
}
