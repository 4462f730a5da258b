//! One HTTP exchange with the broker.
//!
//! 1. An exchange has one deadline, from connecting to the last byte of the answer.
//! 2. An answer is read up to [`MAX_ANSWER`] and no further.
//! 3. Redirects are not followed and proxies from the environment are not used: a secret goes to the broker that was
//!    named, or nowhere.
//! 4. Request and answer bodies are wiped after use; they hold secrets.

use std::{fmt, time::Duration};

use agentwrit_verify::{json, problem::Problem};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, Url, redirect};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::error::ClientError;

/// The largest answer that is read: 4 MiB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Nesting that no answer of a broker needs.
const MAX_DEPTH: usize = 16;

/// Room for a usual request body, so that growing it leaves no copies of a secret behind.
const USUAL_BODY: usize = 4 * 1024;

/// Where the broker is, how to reach it and how long to wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) broker_url: String,
    pub(crate) tls: Tls,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
}

impl Endpoint {
    pub(crate) fn new(broker_url: String) -> Self {
        let (timeout, connect_timeout) = (Duration::from_secs(10), Duration::from_secs(5));
        Self { broker_url, tls: Tls::default(), timeout, connect_timeout }
    }
}

/// What a connection to the broker is made with.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// PEM, one or several certificates each.
    pub(crate) root_certificates: Vec<Vec<u8>>,
    /// PEM, a private key and its certificates.
    pub(crate) client_identity: Option<Zeroizing<Vec<u8>>>,
}

impl Tls {
    fn applied_to(&self, mut http: ClientBuilder, base: &str) -> Result<ClientBuilder, ClientError> {
        let bad = |field: &'static str, error: reqwest::Error| ClientError::invalid(field, &causes(&error));
        if base.starts_with("http://") {
            if !self.root_certificates.is_empty() || self.client_identity.is_some() {
                return Err(ClientError::invalid("broker URL", "certificates are for `https`, and this is `http`"));
            }
            // Without TLS there is no reason to load the system's roots, or to fail where there are none.
            return Ok(http.tls_certs_only([]));
        }
        for pem in &self.root_certificates {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| bad("root certificate", error))?;
            if certificates.is_empty() {
                return Err(ClientError::invalid("root certificate", "there is no certificate in the PEM"));
            }
            http = http.tls_certs_merge(certificates);
        }
        if let Some(pem) = &self.client_identity {
            http = http.identity(Identity::from_pem(pem).map_err(|error| bad("client identity", error))?);
        }
        Ok(http)
    }
}

impl fmt::Debug for Tls {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("root_certificates", &self.root_certificates.len())
            .field("client_identity", &self.client_identity.is_some())
            .finish()
    }
}

/// A request that can be sent more than once.
#[derive(Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    /// Whether doing it twice comes to the same as doing it once.
    repeatable: bool,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, repeatable: true }
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, path: path.into(), body: None, repeatable: true }
    }

    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        Ok(Self { method: Method::POST, path: path.into(), body: Some(encode(body)?), repeatable: false })
    }

    pub(crate) fn post_nothing(path: impl Into<String>) -> Self {
        Self { method: Method::POST, path: path.into(), body: None, repeatable: false }
    }

    pub(crate) fn put(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        Ok(Self { method: Method::PUT, path: path.into(), body: Some(encode(body)?), repeatable: true })
    }

    /// Says of a POST that doing it twice comes to the same as doing it once.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// An answer to this call that cannot be understood.
    pub(crate) fn malformed(&self, reason: &(impl ToString + ?Sized)) -> ClientError {
        ClientError::MalformedAnswer { endpoint: format!("{} {}", self.method, self.path), reason: reason.to_string() }
    }
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        json::object_from_slice(&self.body, MAX_DEPTH).map_err(|error| call.malformed(&error))
    }

    /// The answer, if its status says that the broker did what was asked.
    pub(crate) fn accepted(self, call: &Call) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        if self.status.is_client_error() || self.status.is_server_error() {
            return Err(self.refusal(call));
        }
        Err(call.malformed(&format!("status {} is neither success nor refusal", self.status)))
    }

    fn refusal(&self, call: &Call) -> ClientError {
        let said = self.decode::<Problem>(call).ok().filter(|problem| !problem.detail.is_empty());
        let mut problem = said.unwrap_or_else(|| self.blank_problem(call));
        if problem.request_id.is_empty() {
            self.header("x-request-id").unwrap_or_default().clone_into(&mut problem.request_id);
        }
        ClientError::Refused {
            status: self.status.as_u16(),
            problem: Box::new(problem),
            retry_after: self
                .header(header::RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }

    /// RFC 9457 §4.2.1: a problem about which nothing is known but its status.
    fn blank_problem(&self, call: &Call) -> Problem {
        let title = self.status.canonical_reason().unwrap_or_default();
        Problem {
            r#type: "about:blank".to_owned(),
            title: title.to_owned(),
            status: self.status.as_u16(),
            detail: format!("{title} without a problem body"),
            instance: call.path.clone(),
            error_code: String::new(),
            request_id: String::new(),
            hint: None,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection pool to one broker. Clones share it.
#[derive(Clone)]
pub(crate) struct Transport {
    http: Client,
    base: String,
    timeout: Duration,
}

impl Transport {
    pub(crate) fn connect_lazily(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let base = broker_url(&endpoint.broker_url)?;
        let mut http = Client::builder()
            .user_agent(concat!("agentwrit-client/", env!("CARGO_PKG_VERSION")))
            .timeout(endpoint.timeout)
            .connect_timeout(endpoint.connect_timeout)
            .redirect(redirect::Policy::none())
            .no_proxy();
        http = endpoint.tls.applied_to(http, &base)?;
        let http = http.build().map_err(|error| ClientError::invalid("TLS configuration", &causes(&error)))?;
        Ok(Self { http, base, timeout: endpoint.timeout })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends `call` and decodes what a success answers.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        call: &Call,
        bearer: Option<&HeaderValue>,
    ) -> Result<T, ClientError> {
        self.exchange(call, bearer).await?.accepted(call)?.decode(call)
    }

    /// Sends `call` and takes the answer as it is.
    pub(crate) async fn exchange(&self, call: &Call, bearer: Option<&HeaderValue>) -> Result<Answer, ClientError> {
        let mut request = self.http.request(call.method.clone(), format!("{}{}", self.base, call.path));
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(|error| self.failure(&error))?;
        self.read(call, response).await
    }

    async fn read(&self, call: &Call, mut response: Response) -> Result<Answer, ClientError> {
        let too_large = || call.malformed(&format!("larger than {MAX_ANSWER} bytes"));
        let announced = response.content_length().unwrap_or(0);
        let announced = usize::try_from(announced).ok().filter(|length| *length <= MAX_ANSWER);
        let mut body = Zeroizing::new(Vec::with_capacity(announced.ok_or_else(too_large)?));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error))? {
            if chunk.len() > MAX_ANSWER.saturating_sub(body.len()) {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }

    fn failure(&self, error: &reqwest::Error) -> ClientError {
        if error.is_timeout() {
            ClientError::Timeout { after: self.timeout }
        } else {
            ClientError::Unreachable { reason: causes(error) }
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

fn encode(body: &impl Serialize) -> Result<Bytes, ClientError> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(USUAL_BODY));
    serde_json::to_writer(&mut *buffer, body).map_err(|error| ClientError::invalid("request", &error))?;
    Ok(Bytes::from_owner(buffer))
}

/// The broker's address without a trailing slash. What could carry a secret into a log, or a request elsewhere, is
/// refused.
fn broker_url(given: &str) -> Result<String, ClientError> {
    let invalid = |reason: &str| ClientError::invalid("broker URL", reason);
    let url = Url::parse(given).map_err(|error| ClientError::invalid("broker URL", &error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("scheme is neither `http` nor `https`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not hold credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("must not have a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// `reqwest` hides the reason in the chain of sources; the outermost message alone says nothing.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_url_is_normalised_or_refused() {
        for (given, expected) in [
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080")),
            ("https://broker.example/agentwrit/", Ok("https://broker.example/agentwrit")),
            ("", Err("relative URL without a base")),
            ("ftp://broker.example", Err("scheme is neither `http` nor `https`")),
            ("http://user:secret@broker.example", Err("must not hold credentials")),
            ("http://user@broker.example", Err("must not hold credentials")),
            ("http://broker.example/?a=b", Err("must not have a query or a fragment")),
            ("http://broker.example/#a", Err("must not have a query or a fragment")),
        ] {
            let expected = expected
                .map(str::to_owned)
                .map_err(|reason: &str| ClientError::InvalidInput { field: "broker URL", reason: reason.to_owned() });
            assert_eq!(broker_url(given), expected, "{given}");
        }
    }
}
