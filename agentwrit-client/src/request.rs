//! Requests to the broker, and its responses.

use std::time::Duration;

use agentwrit_protocol::{ErrorCode, Problem, Secret};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    credentials::{Attempt, ProofStatus},
    error::{ClientError, ReceivedSecret},
    one_time_secret,
    retry::AttemptStatus,
};

/// Maximum nesting of a response's JSON.
const MAX_DEPTH: usize = 16;

/// Default limit of a response's body: 4 MiB.
pub(crate) const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// Initial capacity of a request body, so that growing it rarely leaves copies of a secret behind.
const BODY_CAPACITY: usize = 4 * 1024;

/// Request that can be sent more than once.
#[derive(Clone)]
pub(crate) struct ApiRequest {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Bytes>,
    /// Two requests have the same effect as one (RFC 9110 §9.2.2).
    pub(crate) idempotent: bool,
    /// Limit of the response's body, in bytes.
    pub(crate) max_response_bytes: usize,
    /// Time for which the broker may hold the request, in addition to the timeout.
    pub(crate) wait: Duration,
    /// The member of the response that the broker returns only once.
    one_time_secret: Option<&'static str>,
}

impl ApiRequest {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let idempotent = matches!(method, Method::GET | Method::PUT | Method::DELETE);
        let (path, body) = (path.into(), None);
        let wait = Duration::ZERO;
        Self { method, path, body, idempotent, max_response_bytes: MAX_RESPONSE, wait, one_time_secret: None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        Ok(Self { body: Some(encode(body)?), ..Self::post_empty(path) })
    }

    pub(crate) fn post_empty(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        Ok(Self { body: Some(encode(body)?), ..Self::new(Method::PUT, path) })
    }

    /// Marks `member` of the response as a secret that the broker returns only once: it is kept if the response is
    /// malformed.
    pub(crate) fn with_secret_member(mut self, member: &'static str) -> Self {
        self.one_time_secret = Some(member);
        self
    }

    /// Marks a POST as idempotent.
    pub(crate) fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Sets the limit of the response's body.
    pub(crate) fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.max_response_bytes = bytes;
        self
    }

    /// Adds the time for which the broker may hold the request.
    pub(crate) fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Disables retries of a GET whose error responses are results.
    pub(crate) fn without_retries(mut self) -> Self {
        self.idempotent = false;
        self
    }

    /// Error of a malformed response to this request.
    pub(crate) fn malformed(&self, reason: &(impl ToString + ?Sized)) -> ClientError {
        let endpoint = format!("{} {}", self.method, self.path);
        ClientError::MalformedResponse { endpoint, reason: reason.to_string(), received: None }
    }

    /// Error of a malformed response of which only the secret could be read.
    pub(crate) fn malformed_with_secret(
        &self,
        reason: &(impl ToString + ?Sized),
        secret: Option<Secret>,
    ) -> ClientError {
        let endpoint = format!("{} {}", self.method, self.path);
        let received = self.one_time_secret.zip(secret);
        let received = received.map(|(member, secret)| Box::new(ReceivedSecret::new(member, secret)));
        ClientError::MalformedResponse { endpoint, reason: reason.to_string(), received }
    }
}

/// Response of any status.
pub(crate) struct ApiResponse {
    pub(crate) status: StatusCode,
    /// State of the proof that the request had.
    pub(crate) proof: ProofStatus,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl ApiResponse {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: Zeroizing<Vec<u8>>) -> Self {
        Self { status, proof: ProofStatus::Current, headers, body }
    }

    /// Judges the proof of the request by this response to it.
    pub(crate) fn judge_proof(mut self, sent: &Attempt) -> Self {
        self.proof = sent.judge(self.status, &self.headers);
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, request: &ApiRequest) -> Result<T, ClientError> {
        agentwrit_json::object_from_slice(&self.body, MAX_DEPTH).map_err(|error| {
            let secret = request.one_time_secret.and_then(|member| one_time_secret::find(&self.body, member));
            request.malformed_with_secret(&error, secret)
        })
    }

    /// Returns the response if its status is a success.
    pub(crate) fn error_for_status(self, request: &ApiRequest) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        if self.status.is_client_error() || self.status.is_server_error() {
            return Err(self.rejection(request));
        }
        Err(request.malformed(&format!("status {} is neither success nor rejection", self.status)))
    }

    fn rejection(&self, request: &ApiRequest) -> ClientError {
        let said = self.decode::<Problem>(request).ok().filter(|problem| !problem.detail.is_empty());
        let mut problem = said.unwrap_or_else(|| self.about_blank_problem(request));
        if problem.request_id.is_empty() {
            self.header("x-request-id").unwrap_or_default().clone_into(&mut problem.request_id);
        }
        if let Some(cause) = self.proof.cause() {
            problem.detail = format!("{}: {cause}", problem.detail);
        }
        ClientError::Rejected {
            status: self.status.as_u16(),
            problem: Box::new(problem),
            retry_after: self.retry_after(),
        }
    }

    /// Classifies the response for [`retry`](crate::retry).
    pub(crate) fn attempt_status(&self, request: &ApiRequest) -> AttemptStatus {
        let retry_after = self.retry_after();
        let says =
            |code: ErrorCode| self.decode::<Problem>(request).is_ok_and(|problem| problem.error_code == code.as_str());
        match self.status {
            StatusCode::TOO_MANY_REQUESTS if says(ErrorCode::RateLimited) => AttemptStatus::Declined { retry_after },
            StatusCode::SERVICE_UNAVAILABLE if says(ErrorCode::Unavailable) => AttemptStatus::Declined { retry_after },
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                AttemptStatus::Unavailable { retry_after }
            }
            _ => AttemptStatus::Final,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header(header::RETRY_AFTER.as_str())?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Problem of a response without one, RFC 9457 §4.2.1.
    fn about_blank_problem(&self, request: &ApiRequest) -> Problem {
        let title = self.status.canonical_reason().unwrap_or_default();
        Problem {
            r#type: "about:blank".to_owned(),
            title: title.to_owned(),
            status: self.status.as_u16(),
            detail: format!("{title} without a problem body"),
            instance: request.path.clone(),
            error_code: String::new(),
            request_id: String::new(),
            hint: None,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn encode(body: &impl Serialize) -> Result<Bytes, ClientError> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(BODY_CAPACITY));
    serde_json::to_writer(&mut *buffer, body).map_err(|error| ClientError::invalid("request", &error))?;
    Ok(Bytes::from_owner(buffer))
}
