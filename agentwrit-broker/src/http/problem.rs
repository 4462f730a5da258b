//! Refusals as HTTP: the one place where an error becomes a status and a problem.
//!
//! A handler's error doesn't know the request's path and id. It leaves a [`Sketch`] in the response, which
//! [`request::serve`](super::request) renders.

use agentwrit_protocol::{ErrorCode, Problem, RequestId};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{service::Error, store::StoreError};

/// The most that `Retry-After` says while the clock is wrong, in seconds: it may be corrected at any time.
const LONGEST_WAIT: u64 = 60;

/// Why a request has no better answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// An operation was refused.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The body isn't what this endpoint takes.
    #[error("{0}")]
    BadBody(String),
    #[error("{detail}")]
    BadBodyWithHint { detail: String, hint: &'static str },
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    #[error("a request names its host exactly once")]
    BadHost,
    #[error("there is nothing at this path")]
    NotFound,
    #[error("this path does not take this method")]
    MethodNotAllowed,
    #[error("the request took too long")]
    TimedOut,
    #[error("internal error")]
    Defect { cause: String },
}

/// What a problem will say, before the request's path and id are known.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    code: ErrorCode,
    detail: String,
    hint: Option<&'static str>,
    /// For the log only.
    cause: Option<String>,
}

impl Sketch {
    pub(super) fn log(&self, path: &str, id: &RequestId) {
        if let Some(cause) = &self.cause {
            tracing::error!(component = "http", request_id = id.as_str(), path, cause, "request failed");
        }
    }

    pub(super) fn render(self, response: Response, path: &str, id: &RequestId) -> Response {
        let mut problem = Problem::new(self.code, self.detail, path, id);
        problem.hint = self.hint.map(str::to_owned);
        response.map(|_| Body::from(problem.to_json()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after();
        let challenge = self.challenge();
        let sketch = self.sketch();
        let status = StatusCode::from_u16(sketch.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(sketch);
        response
    }
}

impl Failure {
    /// For the audit trail: what was wrong with a body that was not even read.
    pub(super) fn as_error(&self) -> Error {
        if let Self::Refused(error) = self { error.clone() } else { Error::invalid("body", self.to_string()) }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Refused(Error::RateLimited { retry_after } | Error::OverBudget { retry_after, .. }) => {
                Some(retry_after.seconds())
            }
            Self::Refused(Error::ClockBehind { by }) => Some(by.as_secs().clamp(1, LONGEST_WAIT)),
            Self::Refused(Error::Overloaded | Error::Store(StoreError::Busy | StoreError::Unavailable { .. }))
            | Self::TimedOut => Some(1),
            Self::Refused(_)
            | Self::BadBody(_)
            | Self::BadBodyWithHint { .. }
            | Self::TooLarge
            | Self::BadHost
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Defect { .. } => None,
        }
    }

    /// RFC 6750 §3: what is wrong with the Bearer token that was presented.
    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Refused(Error::RenewalFailed | Error::TokenEnded | Error::AppInactive) => {
                Some(r#"Bearer realm="agentwrit", error="invalid_token""#)
            }
            Self::Refused(Error::WrongSubject(_)) => Some(r#"Bearer realm="agentwrit", error="insufficient_scope""#),
            Self::Refused(_)
            | Self::BadBody(_)
            | Self::BadBodyWithHint { .. }
            | Self::TooLarge
            | Self::BadHost
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::TimedOut
            | Self::Defect { .. } => None,
        }
    }

    fn sketch(self) -> Sketch {
        let detail = self.to_string();
        let plain = |code| Sketch { code, detail: detail.clone(), hint: None, cause: None };
        match self {
            Self::Refused(error) => sketch_of(&error),
            Self::BadBody(_) | Self::BadHost => plain(ErrorCode::InvalidRequest),
            Self::BadBodyWithHint { hint, .. } => Sketch { hint: Some(hint), ..plain(ErrorCode::InvalidRequest) },
            Self::TooLarge => plain(ErrorCode::PayloadTooLarge),
            Self::NotFound => plain(ErrorCode::NotFound),
            Self::MethodNotAllowed => plain(ErrorCode::MethodNotAllowed),
            Self::TimedOut => plain(ErrorCode::Unavailable),
            Self::Defect { cause } => Sketch { cause: Some(cause), ..plain(ErrorCode::InternalError) },
        }
    }
}

fn sketch_of(error: &Error) -> Sketch {
    let plain = |code| Sketch { code, detail: error.to_string(), hint: None, cause: None };
    let hinted = |code, hint| Sketch { hint: Some(hint), ..plain(code) };
    match error {
        Error::Invalid { .. } => plain(ErrorCode::InvalidRequest),
        Error::InvalidTtl { .. } | Error::TtlNotPositive { .. } => plain(ErrorCode::InvalidTtl),
        Error::BadCredentials
        | Error::LaunchTokenUnknown
        | Error::LaunchTokenExpired
        | Error::LaunchTokenConsumed
        | Error::NonceSpent
        | Error::AppInactive
        | Error::RenewalFailed
        | Error::TokenEnded => plain(ErrorCode::Unauthorized),
        Error::NonceUnknown => {
            hinted(ErrorCode::Unauthorized, "ask `GET /v1/challenge` for a new nonce; it lasts 30 s")
        }
        Error::BadPublicKey => hinted(
            ErrorCode::Unauthorized,
            "send standard base64 of the raw 32-byte Ed25519 public key, not its DER or PEM encoding",
        ),
        Error::BadSignature => hinted(
            ErrorCode::Unauthorized,
            "sign the 32 bytes that the nonce's hexadecimal text stands for, not the text itself, and send standard base64",
        ),
        Error::ExceedsLaunchToken { .. }
        | Error::ExceedsCeiling { .. }
        | Error::ExceedsDelegator { .. }
        | Error::Pinned { .. }
        | Error::TooDeep => plain(ErrorCode::ScopeViolation),
        Error::WrongSubject(_) => plain(ErrorCode::InsufficientScope),
        Error::DelegateUnknown => hinted(
            ErrorCode::NotFound,
            "the delegate must be registered, not revoked, and hold or have held a token that has not expired",
        ),
        Error::NoSuchLaunchToken | Error::AppUnknown => plain(ErrorCode::NotFound),
        Error::NameTaken => hinted(ErrorCode::Conflict, "choose another name, or deregister the app that has it"),
        Error::RateLimited { .. } | Error::OverBudget { .. } => {
            hinted(ErrorCode::RateLimited, "wait as long as `Retry-After` says")
        }
        Error::Overloaded => hinted(ErrorCode::Unavailable, "nothing was done; try again"),
        Error::ClockBehind { .. } => Sketch {
            code: ErrorCode::Unavailable,
            detail: "the broker's clock is wrong".to_owned(),
            hint: Some("nothing was done; the operator has to look at the broker's log"),
            cause: Some(error.to_string()),
        },
        Error::Store(store) => sketch_of_store(store),
    }
}

fn sketch_of_store(error: &StoreError) -> Sketch {
    let (code, detail, hint) = match error {
        StoreError::Busy => (ErrorCode::Unavailable, "the broker is busy", Some("nothing was done; try again")),
        StoreError::Unavailable { .. } => {
            (ErrorCode::Unavailable, "the store cannot take the request", Some("nothing was done; try again"))
        }
        StoreError::Corrupt { .. } | StoreError::Internal { .. } => (ErrorCode::InternalError, "internal error", None),
    };
    Sketch { code, detail: detail.to_owned(), hint, cause: Some(error.to_string()) }
}

pub(super) async fn not_found() -> Failure {
    Failure::NotFound
}

pub(super) async fn method_not_allowed() -> Failure {
    Failure::MethodNotAllowed
}
