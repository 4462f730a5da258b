//! A request in the making.

use std::pin::Pin;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::{Broker, Response};

/// A request; awaiting it sends it.
#[derive(Debug)]
#[must_use = "a request is sent by awaiting it"]
pub struct Request {
    http: reqwest::Client,
    url: String,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(broker: &Broker, method: Method, path: &str) -> Self {
        Self::at(broker.http.clone(), &broker.url, method, path)
    }

    /// A request to another server than a broker, whose URL has no trailing slash.
    pub(crate) fn at(http: reqwest::Client, server: &str, method: Method, path: &str) -> Self {
        Self {
            http,
            url: format!("{server}{path}"),
            method,
            path: path.split('?').next().unwrap_or(path).to_owned(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// Sends this JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// Sends these bytes, without any `Content-Type`.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Presents this token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Adds a header; one that is there already stays.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    async fn send(self) -> Response {
        let mut request = self.http.request(self.method.clone(), &self.url).headers(self.headers);
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let line = format!("{} {}", self.method, self.path);
        let response = request.send().await.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        Response {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap_or_else(|error| panic!("{line}: {error:?}")).to_vec(),
            path: self.path,
            line,
        }
    }
}

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
