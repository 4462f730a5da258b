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
        Ok(Response { status: response.status(), body: response.text().await? })
    }
}

impl Response {
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
