//! What is asked of the broker, and what it answers.

use std::time::Duration;

use agentwrit_protocol::{ErrorCode, Problem, Secret};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    error::{ClientError, ReceivedSecret},
    retry::Ending,
    salvaged,
};

/// Nesting that no answer of a broker needs.
const MAX_DEPTH: usize = 16;

/// The largest answer that is read, but to a call that says otherwise: 4 MiB.
pub(crate) const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Room for a usual request body, so that growing it leaves no copies of a secret behind.
const USUAL_BODY: usize = 4 * 1024;

/// A request that can be sent more than once.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Bytes>,
    /// Whether doing it twice comes to the same as doing it once.
    pub(crate) repeatable: bool,
    /// The longest answer that is read, in bytes.
    pub(crate) longest_answer: usize,
    /// The member of the answer that is shown this once.
    one_time_secret: Option<&'static str>,
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let repeatable = matches!(method, Method::GET | Method::PUT | Method::DELETE);
        let (path, body) = (path.into(), None);
        Self { method, path, body, repeatable, longest_answer: MAX_ANSWER, one_time_secret: None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn post(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        Ok(Self { body: Some(encode(body)?), ..Self::post_nothing(path) })
    }

    pub(crate) fn post_nothing(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>, body: &impl Serialize) -> Result<Self, ClientError> {
        Ok(Self { body: Some(encode(body)?), ..Self::new(Method::PUT, path) })
    }

    /// Says that the answer's `member` is a secret that the broker shows this once: it is kept if the answer is malformed.
    pub(crate) fn hands_out(mut self, member: &'static str) -> Self {
        self.one_time_secret = Some(member);
        self
    }

    /// Says of a POST that doing it twice comes to the same as doing it once.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Says how long the answer may be, if longer than usual.
    pub(crate) fn answered_by_up_to(mut self, bytes: usize) -> Self {
        self.longest_answer = bytes;
        self
    }

    /// Says of a GET that every answer to it is worth having, a 503 too.
    pub(crate) fn taken_as_answered(mut self) -> Self {
        self.repeatable = false;
        self
    }

    /// An answer to this call that cannot be understood.
    pub(crate) fn malformed(&self, reason: &(impl ToString + ?Sized)) -> ClientError {
        let endpoint = format!("{} {}", self.method, self.path);
        ClientError::MalformedAnswer { endpoint, reason: reason.to_string(), received: None }
    }

    /// The same, for an answer of which only the secret could be read.
    pub(crate) fn malformed_but(&self, reason: &(impl ToString + ?Sized), secret: Option<Secret>) -> ClientError {
        let endpoint = format!("{} {}", self.method, self.path);
        let received = self.one_time_secret.zip(secret);
        let received = received.map(|(member, secret)| Box::new(ReceivedSecret::new(member, secret)));
        ClientError::MalformedAnswer { endpoint, reason: reason.to_string(), received }
    }
}

/// What came back, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, body: Zeroizing<Vec<u8>>) -> Self {
        Self { status, headers, body }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        agentwrit_json::object_from_slice(&self.body, MAX_DEPTH).map_err(|error| {
            let secret = call.one_time_secret.and_then(|member| salvaged::secret(&self.body, member));
            call.malformed_but(&error, secret)
        })
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
            retry_after: self.retry_after(),
        }
    }

    /// What this answer means for sending the call again.
    pub(crate) fn ending(&self, call: &Call) -> Ending {
        let retry_after = self.retry_after();
        let says =
            |code: ErrorCode| self.decode::<Problem>(call).is_ok_and(|problem| problem.error_code == code.as_str());
        match self.status {
            StatusCode::TOO_MANY_REQUESTS if says(ErrorCode::RateLimited) => Ending::TurnedAway { retry_after },
            StatusCode::SERVICE_UNAVAILABLE if says(ErrorCode::Unavailable) => Ending::TurnedAway { retry_after },
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Ending::Unavailable { retry_after }
            }
            _ => Ending::Answered,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header(header::RETRY_AFTER.as_str())?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
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

fn encode(body: &impl Serialize) -> Result<Bytes, ClientError> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(USUAL_BODY));
    serde_json::to_writer(&mut *buffer, body).map_err(|error| ClientError::invalid("request", &error))?;
    Ok(Bytes::from_owner(buffer))
}
