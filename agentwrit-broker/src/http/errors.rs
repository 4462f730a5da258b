//! Rejections as HTTP: the one place where an error becomes a status, a problem and its headers.
//!
//! A handler's error does not know the request's path and id. It leaves a [`PendingProblem`] in the response, which
//! [`request::serve`](super::request) renders.

use std::time::Duration;

use agentwrit_protocol::{ErrorCode, Problem, RequestError, RequestId};
use agentwrit_verify::proof::ProofError;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    feed::{FeedUnavailable, UnknownCursor},
    service::{Error, keys::KeyError, verifiers::ReportRejection},
    store::StoreError,
};

/// Longest `Retry-After` while the clock is wrong, in seconds: it may be corrected at any time.
const MAX_CLOCK_WAIT: u64 = 60;

/// RFC 6750 §3: the Bearer token of the request is no longer valid.
const INVALID_TOKEN: &str = r#"Bearer realm="agentwrit", error="invalid_token""#;
/// RFC 9449 §7.1: the proof of the request is not accepted.
const INVALID_PROOF: &str = r#"DPoP error="invalid_dpop_proof", algs="EdDSA Ed25519""#;
/// RFC 6750 §3: the Bearer token of the request is valid and does not permit this.
const INSUFFICIENT_SCOPE: &str = r#"Bearer realm="agentwrit", error="insufficient_scope""#;

/// `Retry-After` while an issuer of assertions is not reachable, in seconds.
const RETRY_ATTESTATION: u64 = 5;

/// `Retry-After` while there are reports of too many instances, in seconds.
const RETRY_FULL: u64 = 60;

const PERMIT_BINDING: &str = "the operator permits them with `AA_SENDER_CONSTRAINED=allowed`";
const LIVE_DELEGATE: &str =
    "the delegate must be registered, not revoked, and hold or have held a token that has not expired";
const CURSOR_OF_BROKER: &str = "send the `cursor` of a response to a revocation of this broker";
const KEPT_EVIDENCE: &str =
    "it is kept once a request has found the confirmation, until that of many later ones is kept";
const NAME_OF_APP: &str = "choose another name, or deregister the app that has it";
const NAME_OF_RULE: &str = "choose another name, or remove the rule that has it";
const NEW_NONCE: &str = "ask `GET /v1/challenge` for a new nonce; it lasts 30 s";
const RAW_PUBLIC_KEY: &str = "send standard base64 of the raw 32-byte Ed25519 public key, not its DER or PEM encoding";
const SIGN_DECODED_NONCE: &str =
    "sign the 32 bytes that the nonce's hexadecimal text stands for, not the text itself, and send standard base64";
const TRY_AGAIN: &str = "nothing was done; try again";
const MEND_KEYS: &str = "nothing was done; mend what `detail` names, at the broker, and try again";
/// Hint for a cursor of an epoch that was left.
const OTHER_EPOCH: &str = "another log was begun since, after a restored backup or lost history: what was issued before is revoked; \
     request a revocation again to wait for the present log";
/// Header of the nonce that a proof must contain, RFC 9449 §8.
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// Hints to registrations with a proof.
const SIGN_PROOF: &str = "the proof must be by the key of `public_key`: `htm` is POST, `htu` the broker's URL with `/v1/register`, `iat` \
    the present time, `jti` new";
const SIGN_NONCE: &str = "sign another proof that contains the nonce of the `DPoP-Nonce` header";
/// Hint to a request whose proof was used, in the words of the layer that judges proofs.
const SIGN_AGAIN: &str = "sign a fresh proof for this method, this URL and this token, with the clock right";
/// Next step after a commit of unknown outcome.
const FIND_OUT: &str = "the request may have been executed: read the present state before you send it again; a registration \
     that was recorded is rejected with `launch token already consumed`, and needs another assertion if it had one";

/// Reason why a request is rejected.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// An operation rejected it.
    #[error(transparent)]
    Service(#[from] Error),
    /// The query holds parameters that the endpoint does not take.
    #[error("{0}")]
    Query(String),
    #[error("the body could not be read to its end")]
    IncompleteBody,
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    #[error("a report has at most 16 KiB")]
    ReportTooLarge,
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

impl From<RequestError> for HttpError {
    fn from(error: RequestError) -> Self {
        Self::Service(error.into())
    }
}

impl From<FeedUnavailable> for HttpError {
    fn from(error: FeedUnavailable) -> Self {
        Self::Service(error.into())
    }
}

impl HttpError {
    /// Returns the error as the audit trail records it, also for a body that was not read.
    pub(super) fn as_service_error(&self) -> Error {
        if let Self::Service(error) = self { error.clone() } else { Error::invalid("body", self.to_string()) }
    }
}

/// An error as a person reads it, for pages.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) status: u16,
    pub(crate) detail: String,
    pub(crate) hint: Option<&'static str>,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<u64>,
}

impl Described {
    pub(crate) fn of(error: &HttpError) -> Self {
        Self::of_service(&error.as_service_error())
    }

    /// Describes an error, and logs the cause that no client receives.
    pub(crate) fn of_service(error: &Error) -> Self {
        let PendingProblem { code, detail, hint, retry_after, cause, .. } = PendingProblem::of_service(error);
        if let Some(cause) = cause {
            tracing::error!(component = "console", cause, "request failed");
        }
        Self { status: code.status(), detail, hint, retry_after }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let problem = PendingProblem::of(self);
        let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
        if let Some(challenge) = problem.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = problem.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(nonce) = problem.nonce.as_deref().and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
            response.headers_mut().insert(DPOP_NONCE, nonce);
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// A problem before the request's path and id are known.
#[derive(Clone, Debug)]
pub(super) struct PendingProblem {
    code: ErrorCode,
    detail: String,
    hint: Option<&'static str>,
    /// Seconds of `Retry-After`.
    retry_after: Option<u64>,
    /// `DPoP-Nonce`.
    nonce: Option<String>,
    /// `WWW-Authenticate`.
    challenge: Option<&'static str>,
    /// Cause for the log, which no client receives.
    cause: Option<String>,
}

impl PendingProblem {
    pub(super) fn log(&self, path: impl FnOnce() -> String, id: &RequestId) {
        if let Some(cause) = &self.cause {
            tracing::error!(component = "http", request_id = id.as_str(), path = path(), cause, "request failed");
        }
    }

    pub(super) fn render(self, response: Response, path: &str, id: &RequestId) -> Response {
        let mut problem = Problem::new(self.code, self.detail, path, id);
        problem.hint = self.hint.map(str::to_owned);
        response.map(|_| Body::from(problem.to_json()))
    }

    fn of(error: HttpError) -> Self {
        let detail = error.to_string();
        match error {
            HttpError::Service(error) => Self::of_service(&error),
            HttpError::Query(_) | HttpError::IncompleteBody | HttpError::BadHost => {
                Self::new(ErrorCode::InvalidRequest, detail)
            }
            HttpError::TooLarge | HttpError::ReportTooLarge => Self::new(ErrorCode::PayloadTooLarge, detail),
            HttpError::NotFound => Self::new(ErrorCode::NotFound, detail),
            HttpError::MethodNotAllowed => Self::new(ErrorCode::MethodNotAllowed, detail),
            HttpError::TimedOut => Self::new(ErrorCode::Unavailable, detail).retry_after(1),
            HttpError::Defect { cause } => Self::new(ErrorCode::InternalError, detail).cause(cause),
        }
    }

    fn of_service(error: &Error) -> Self {
        let problem = |code| Self::new(code, error.to_string());
        match error {
            Error::Request(error) => Self { hint: error.hint(), ..problem(error.code()) },
            Error::BindingOff => problem(ErrorCode::InvalidRequest).hint(PERMIT_BINDING),
            Error::KeyProof(error) => Self::of_key_proof(error),
            Error::BadCredentials
            | Error::LaunchTokenUnknown
            | Error::LaunchTokenExpired
            | Error::LaunchTokenConsumed
            | Error::AttestationFailed(_)
            | Error::NonceSpent => problem(ErrorCode::Unauthorized),
            Error::AppInactive | Error::RenewalFailed | Error::TokenEnded => {
                problem(ErrorCode::Unauthorized).challenge(INVALID_TOKEN)
            }
            Error::ProofReplayed => problem(ErrorCode::Unauthorized).challenge(INVALID_PROOF).hint(SIGN_AGAIN),
            Error::NonceUnknown => problem(ErrorCode::Unauthorized).hint(NEW_NONCE),
            Error::BadPublicKey => problem(ErrorCode::Unauthorized).hint(RAW_PUBLIC_KEY),
            Error::BadSignature => problem(ErrorCode::Unauthorized).hint(SIGN_DECODED_NONCE),
            Error::ExceedsAllowedScope { .. }
            | Error::ExceedsCeiling { .. }
            | Error::ExceedsDelegator { .. }
            | Error::Pinned { .. }
            | Error::TooDeep => problem(ErrorCode::ScopeViolation),
            Error::WrongSubject(_) => problem(ErrorCode::InsufficientScope).challenge(INSUFFICIENT_SCOPE),
            Error::DelegateUnknown => problem(ErrorCode::NotFound).hint(LIVE_DELEGATE),
            Error::UnknownCursor(UnknownCursor::Beyond) => problem(ErrorCode::NotFound).hint(CURSOR_OF_BROKER),
            Error::UnknownCursor(UnknownCursor::OtherEpoch) => problem(ErrorCode::NotFound).hint(OTHER_EPOCH),
            Error::NoEvidence => problem(ErrorCode::NotFound).hint(KEPT_EVIDENCE),
            Error::NoSuchLaunchToken
            | Error::AppUnknown
            | Error::NoSuchTrustRule
            | Error::NoSuchVerifier
            | Error::NoSuchInstance => problem(ErrorCode::NotFound),
            Error::NameTaken => problem(ErrorCode::Conflict).hint(NAME_OF_APP),
            Error::TrustRuleExists => problem(ErrorCode::Conflict).hint(NAME_OF_RULE),
            Error::TooManyTrustRules => problem(ErrorCode::Conflict).hint("remove rules that are not used any more"),
            Error::VerifierExists { same_key } => problem(ErrorCode::Conflict).hint(hint_on_existing(*same_key)),
            Error::InstanceHasBound => {
                problem(ErrorCode::Conflict).hint("it counts at most ten minutes after its last report")
            }
            Error::TooManyVerifiers => problem(ErrorCode::Conflict).hint("remove verifiers that are not used any more"),
            Error::Report(rejection) => Self::of_report(rejection),
            Error::RateLimited { retry_after } | Error::OverBudget { retry_after, .. } => {
                problem(ErrorCode::RateLimited)
                    .hint("wait as long as `Retry-After` says")
                    .retry_after(retry_after.seconds())
            }
            Error::AttestationUnavailable(failure) => problem(ErrorCode::Unavailable)
                .hint(TRY_AGAIN)
                .retry_after(RETRY_ATTESTATION)
                .cause(format!("{error}: {}", failure.reason)),
            Error::Overloaded => problem(ErrorCode::Unavailable).hint(TRY_AGAIN).retry_after(1),
            Error::ClockBehind { by } => Self::of_clock_behind(*by, error),
            Error::Key(error) => Self::of_key(error),
            Error::Custody(_) => {
                problem(ErrorCode::Unavailable).hint(MEND_KEYS).retry_after(1).cause(error.to_string())
            }
            Error::Store(error) => Self::of_store(error),
        }
    }

    fn of_clock_behind(by: Duration, error: &Error) -> Self {
        Self::new(ErrorCode::Unavailable, "the broker's clock is wrong")
            .hint("nothing was done; the operator has to look at the broker's log")
            .retry_after(by.as_secs().clamp(1, MAX_CLOCK_WAIT))
            .cause(error.to_string())
    }

    fn of_key_proof(error: &ProofError) -> Self {
        let hint = if error.nonce().is_some() { SIGN_NONCE } else { SIGN_PROOF };
        let problem = Self::new(ErrorCode::InvalidRequest, Error::KeyProof(error.clone()).to_string()).hint(hint);
        Self { nonce: error.nonce().map(str::to_owned), ..problem }
    }

    fn of_report(rejection: &ReportRejection) -> Self {
        let problem = |code| Self::new(code, rejection.to_string());
        match rejection {
            ReportRejection::Report(_) | ReportRejection::SequenceTooLarge => problem(ErrorCode::InvalidRequest),
            ReportRejection::BoundTooLarge { .. } => problem(ErrorCode::InvalidRequest)
                .hint("lower `max_staleness`, or change the `max_bound` of the verifier"),
            ReportRejection::NotEnrolled => problem(ErrorCode::Unauthorized),
            ReportRejection::Superseded | ReportRejection::Ahead | ReportRejection::OtherDatabase => {
                problem(ErrorCode::Conflict)
            }
            ReportRejection::TooOften { retry_after } | ReportRejection::TooManyNewInstances { retry_after } => {
                problem(ErrorCode::RateLimited).retry_after(retry_after.seconds())
            }
            ReportRejection::TooManyInstances => problem(ErrorCode::RateLimited).retry_after(RETRY_FULL),
            ReportRejection::Store(error) => Self::of_store(error),
        }
    }

    fn of_key(error: &KeyError) -> Self {
        let conflict = |hint| Self::new(ErrorCode::Conflict, error.to_string()).hint(hint);
        match error {
            KeyError::Unknown => Self::new(ErrorCode::NotFound, error.to_string()),
            KeyError::TooMany => conflict("retire or withdraw keys first"),
            KeyError::NotPublished { .. } => conflict("prepare another key with `POST /v1/admin/keys`"),
            KeyError::Unusable { .. } => conflict("withdraw the key, and prepare another one"),
            KeyError::Active => conflict("activate another key first, or withdraw this one if it has leaked"),
            KeyError::TooEarly { .. } => conflict(
                "verifiers without the key would reject its tokens; send `\"force\":true` to activate it all the same",
            ),
            KeyError::NotEverywhere { .. } | KeyError::InstancesUnknown { .. } => conflict(
                "verifiers without the key would reject its tokens: have them fetch it, remove verifiers that do not exist any \
                 more, or send `\"force\":true` to activate it all the same",
            ),
            KeyError::TokensAlive { .. } => {
                conflict("if the key has leaked, withdraw it: its tokens are rejected then; otherwise wait")
            }
        }
    }

    fn of_store(error: &StoreError) -> Self {
        let unavailable = |detail: &str| {
            Self::new(ErrorCode::Unavailable, detail).hint(TRY_AGAIN).retry_after(1).cause(error.to_string())
        };
        match error {
            StoreError::Busy => unavailable("the broker is busy"),
            StoreError::Unavailable { .. } => unavailable("the store cannot take the request"),
            StoreError::OutcomeUnknown { .. } => {
                Self::new(ErrorCode::OutcomeUnknown, "the outcome of the request is not known")
                    .hint(FIND_OUT)
                    .retry_after(1)
                    .cause(error.to_string())
            }
            StoreError::Corrupt { .. } | StoreError::Internal { .. } => {
                Self::new(ErrorCode::InternalError, "internal error").cause(error.to_string())
            }
        }
    }

    fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None, retry_after: None, nonce: None, challenge: None, cause: None }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    fn challenge(self, challenge: &'static str) -> Self {
        Self { challenge: Some(challenge), ..self }
    }

    fn cause(self, cause: String) -> Self {
        Self { cause: Some(cause), ..self }
    }
}

pub(super) async fn not_found() -> HttpError {
    HttpError::NotFound
}

pub(super) async fn method_not_allowed() -> HttpError {
    HttpError::MethodNotAllowed
}

/// Returns the remedy for the enrolment of a verifier that exists.
fn hint_on_existing(same_key: bool) -> &'static str {
    if same_key {
        "nothing needs to be done if its bound is right too; PUT changes it"
    } else {
        "choose another name, or change the key of the verifier that has it"
    }
}
