//! HTTP client of a service behind scopes.

use std::time::Duration;

use agentwrit_protocol::Problem;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Client;
use serde_json::Value;

/// Timeout for a complete response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Characters of a path segment that stay as they are (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Request to the service.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "the demos build it")]
pub struct ServiceRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
}

impl ServiceRequest {
    /// Builds a request that reads.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None }
    }

    /// Builds a request that writes.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: Method::POST, path: path.into(), body: Some(body) }
    }
}

/// Encodes text so that it remains one segment of a path. `None` for the segments that a client would resolve
/// (RFC 3986 §5.2.4), however they are encoded, and for an empty one.
#[must_use]
pub fn path_segment(text: &str) -> Option<String> {
    (!matches!(text, "" | "." | "..")).then(|| utf8_percent_encode(text, SEGMENT).to_string())
}

/// Encodes text as a value of a query.
#[must_use]
pub fn query_value(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Response of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceResponse {
    /// Status.
    pub status: StatusCode,
    /// Scope that the challenge of a 403 asks for (RFC 6750 §3.1).
    pub scope_needed: Option<String>,
    body: String,
}

impl ServiceResponse {
    /// Returns the body, as text if it is not JSON.
    #[must_use]
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| Value::String(self.body.clone()))
    }

    /// Returns the problem of a rejection.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        agentwrit_json::object_from_slice(self.body.as_bytes(), 4).ok()
    }

    /// Summarises the body: the detail of a problem, the length of a list.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(problem) = self.problem()
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

/// Service that did not respond.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service at {url} cannot be reached: {cause}")]
#[non_exhaustive]
pub struct ServiceUnreachable {
    /// URL of the service.
    pub url: String,
    /// Innermost cause.
    pub cause: String,
}

/// HTTP client of one service.
#[derive(Clone, Debug)]
pub struct ServiceClient {
    http: Client,
    url: String,
}

impl ServiceClient {
    /// Builds a client of the service at `url`.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be built.
    pub fn new(url: String) -> Result<Self, reqwest::Error> {
        let http = Client::builder().no_proxy().tls_certs_only([]).timeout(TIMEOUT).build()?;
        Ok(Self { http, url })
    }

    /// Sends a request, with a token's header or without.
    ///
    /// # Errors
    ///
    /// When the service does not respond.
    pub async fn send(
        &self,
        authorization: Option<&HeaderValue>,
        request: &ServiceRequest,
    ) -> Result<ServiceResponse, ServiceUnreachable> {
        self.exchange(authorization, request)
            .await
            .map_err(|error| ServiceUnreachable { url: self.url.clone(), cause: innermost(&error.without_url()) })
    }

    async fn exchange(
        &self,
        authorization: Option<&HeaderValue>,
        request: &ServiceRequest,
    ) -> Result<ServiceResponse, reqwest::Error> {
        let mut call = self.http.request(request.method.clone(), format!("{}{}", self.url, request.path));
        if let Some(authorization) = authorization {
            call = call.header(header::AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            call = call.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = call.send().await?;
        let challenge = response.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let scope_needed = challenge.and_then(scope_of_challenge).map(str::to_owned);
        Ok(ServiceResponse { status: response.status(), scope_needed, body: response.text().await? })
    }
}

fn scope_of_challenge(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once(r#"scope=""#)?;
    rest.split_once('"').map(|(scope, _)| scope)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_remains_one_segment_of_path() {
        for (text, segment) in [
            ("C-2041", Some("C-2041")),
            ("../C-2041", Some("..%2FC-2041")),
            ("a b?c#d", Some("a%20b%3Fc%23d")),
            ("%2e%2e", Some("%252e%252e")),
            ("\u{202e}\r\n", Some("%E2%80%AE%0D%0A")),
            ("", None),
            (".", None),
            ("..", None),
        ] {
            assert_eq!(path_segment(text).as_deref(), segment, "{text}");
            let Some(segment) = segment else { continue };
            let url = reqwest::Url::parse(&format!("http://h/customers/{segment}/balance")).unwrap();
            assert_eq!(url.path(), format!("/customers/{segment}/balance"));
        }
    }

    #[tokio::test]
    async fn names_service_and_innermost_cause_when_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error =
            ServiceClient::new(url.clone()).unwrap().send(None, &ServiceRequest::get("/secret")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("the service at {url} cannot be reached: {}", error.cause));
        assert!(error.cause.contains("refused"), "{error}");
    }
}
