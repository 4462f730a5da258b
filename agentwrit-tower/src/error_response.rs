//! The one mapping from a [`Rejection`] to HTTP: status, challenge (RFC 6750 §3) and problem (RFC 9457).

use std::borrow::Cow;

use agentwrit_protocol::{ErrorCode, Problem, RequestId};
use agentwrit_verify::proof::{ALGORITHMS, ProofError};
use agentwrit_verify::{Scope, VerifyError};
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;

use crate::challenge::ChallengeParameters;
use crate::grpc;
use crate::observe;
use crate::rejection::{Misconfiguration, Rejection, spaced};
use crate::rejection_options::RejectionOptions;

/// Scheme of RFC 6750.
const BEARER: &str = "Bearer";
/// Challenge for a token that is not valid.
const INVALID_TOKEN: &str = r#"Bearer realm="agentwrit", error="invalid_token""#;
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
const X_REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// Returns the response to a rejected request, with the rejection in its extensions.
pub(crate) fn respond(rejection: Rejection, head: &Parts, options: &RejectionOptions) -> Response<Full<Bytes>> {
    let request_id = request_id(head);
    let path = path(head);
    observe::rejected(&rejection, head, &request_id, path);

    let mut error = ErrorResponse::from_rejection(&rejection, options.dpop.unwrap_or(ALGORITHMS));
    if let Some(algorithms) = options.dpop {
        error.offer_dpop(&rejection, algorithms);
    } else {
        error.omit_dpop(&rejection);
    }
    let mut response = match (grpc::content_type(head), &options.renderer) {
        (Some(content_type), _) => grpc::trailers_only(content_type, error.grpc, &error.detail),
        (None, Some(renderer)) => error.with_status(renderer.render(&rejection, head)),
        (None, None) => error.problem(path, &request_id),
    };
    let of_closure = response.extensions_mut().remove::<ChallengeParameters>();
    error.extend_challenge(&options.challenge_parameters(of_closure));
    error.write_headers(response.headers_mut(), &request_id);
    response.extensions_mut().insert(rejection);
    response.map(Full::new)
}

/// The part of a rejection that its client receives.
struct ErrorResponse {
    code: ErrorCode,
    grpc: grpc::Code,
    detail: Cow<'static, str>,
    hint: Option<&'static str>,
    challenge: Option<HeaderValue>,
    /// Challenge of the scheme `DPoP`, beside or in place of the other.
    dpop_challenge: Option<HeaderValue>,
    dpop_nonce: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    allow: Option<HeaderValue>,
}

impl ErrorResponse {
    /// Maps a rejection to HTTP. `algorithms` are those of proofs.
    fn from_rejection(rejection: &Rejection, algorithms: &str) -> Self {
        match rejection {
            Rejection::NoToken(_) => Self {
                hint: Some("send one `Authorization: Bearer <token>` header"),
                challenge: Some(HeaderValue::from_static(r#"Bearer realm="agentwrit""#)),
                ..Self::new(ErrorCode::Unauthorized, grpc::Code::Unauthenticated, "a Bearer token is required")
            },
            Rejection::MultipleTokens => Self {
                hint: Some("send the token in one way only"),
                challenge: Some(HeaderValue::from_static(r#"Bearer realm="agentwrit", error="invalid_request""#)),
                ..Self::invalid("the request carries more than one token")
            },
            Rejection::InvalidToken(error) => Self::invalid_token(error, algorithms),
            Rejection::InsufficientScope { required, .. } => Self {
                hint: Some("use a token that was granted the scope which the challenge names"),
                challenge: Some(insufficient_scope(required)),
                ..Self::forbidden(rejection.to_string())
            },
            Rejection::NotAnAgent(_) => Self {
                hint: Some("use the token of a registered agent"),
                challenge: Some(HeaderValue::from_static(r#"Bearer realm="agentwrit", error="insufficient_scope""#)),
                ..Self::forbidden(rejection.to_string())
            },
            Rejection::BadIdentifier { .. } => Self {
                hint: Some("an identifier has no `*`, space, quote, backslash or control character"),
                ..Self::invalid(rejection.to_string())
            },
            Rejection::BadRequest(_) => Self::invalid(rejection.to_string()),
            Rejection::MethodNotAllowed { allowed } => Self {
                allow: Some(allow(allowed)),
                ..Self::new(
                    ErrorCode::MethodNotAllowed,
                    grpc::Code::Unimplemented,
                    "the path does not take this method",
                )
            },
            Rejection::UnknownPath => {
                Self::new(ErrorCode::NotFound, grpc::Code::Unimplemented, "there is nothing at this path")
            }
            Rejection::MalformedCursor => Self {
                hint: Some("send the `cursor` of a response to a revocation, once"),
                ..Self::invalid(rejection.to_string())
            },
            Rejection::CursorNotReached { .. } => Self {
                hint: Some("the service is still learning of the revocation: send the same request again"),
                retry_after: Some(HeaderValue::from_static("1")),
                ..Self::new(ErrorCode::Unavailable, grpc::Code::Unavailable, "the revocation is not applied here yet")
            },
            Rejection::Unavailable(_) => Self {
                hint: Some("the token is not at fault: send the same request again later"),
                retry_after: Some(HeaderValue::from_static("5")),
                ..Self::new(ErrorCode::Unavailable, grpc::Code::Unavailable, "tokens cannot be verified at present")
            },
            Rejection::Misconfigured(mistake) => Self::misconfigured(mistake, cfg!(debug_assertions)),
        }
    }

    /// Maps the error of a token to HTTP. What concerns its sender is told to clients with a valid token only.
    fn invalid_token(error: &VerifyError, algorithms: &str) -> Self {
        let rejected = Self::unauthenticated("token verification failed");
        if let VerifyError::Proof { error, .. } = error {
            let hint = if *error == ProofError::NoExternalUrl {
                "the service does not know by which URL it was reached: its operator has to configure it"
            } else if error.nonce().is_some() {
                "sign another proof that contains the nonce of the `DPoP-Nonce` header, and send the same request again"
            } else {
                "sign a fresh proof for this method, this URL and this token, with the clock right"
            };
            return Self {
                hint: Some(hint),
                dpop_challenge: Some(dpop_challenge(error.code(), algorithms)),
                dpop_nonce: error.nonce().and_then(|nonce| HeaderValue::from_str(nonce).ok()),
                ..Self::unauthenticated("the proof of the token's key is not accepted")
            };
        }
        let hint = if matches!(error, VerifyError::ProofRequired { .. }) {
            "the token is bound to a key: send `Authorization: DPoP <token>`, and a proof by the key in a `DPoP` header"
        } else if matches!(error, VerifyError::NotSenderConstrained { .. }) {
            "the token is not bound to a key: a service that requires proofs accepts bound tokens only"
        } else {
            return Self { challenge: Some(HeaderValue::from_static(INVALID_TOKEN)), ..rejected };
        };
        Self { hint: Some(hint), dpop_challenge: Some(dpop_challenge("invalid_token", algorithms)), ..rejected }
    }

    /// Lists the scheme `DPoP` where sender-constrained tokens are accepted: beside `Bearer`, or in its place if the rejected
    /// request has a sender-constrained token.
    fn offer_dpop(&mut self, rejection: &Rejection, algorithms: &str) {
        let is_bound = rejection.verified().is_some_and(|verified| verified.sender_constraint().is_some());
        let Some(bearer) = &self.challenge else { return };
        let parameters = bearer.to_str().ok().and_then(|bearer| bearer.strip_prefix(BEARER));
        let challenge = format!("DPoP{}, algs=\"{algorithms}\"", parameters.unwrap_or_default());
        self.dpop_challenge = HeaderValue::try_from(challenge).ok();
        if is_bound {
            self.challenge = None;
        }
    }

    /// Lists the scheme `Bearer` only where no layer accepts bound tokens.
    fn omit_dpop(&mut self, rejection: &Rejection) {
        if self.dpop_challenge.take().is_none() {
            return;
        }
        self.challenge = Some(HeaderValue::from_static(INVALID_TOKEN));
        if let Rejection::InvalidToken(VerifyError::ProofRequired { .. }) = rejection {
            self.hint = Some("the token is bound to a key, and this service accepts unbound tokens only");
        }
    }

    /// Reports a mistake in the program: a debug build's response names it, a release build's does not.
    fn misconfigured(mistake: &Misconfiguration, debug_build: bool) -> Self {
        if debug_build {
            Self {
                hint: Some("a debug build tells the reason; a release build only writes it into its log"),
                ..Self::new(ErrorCode::InternalError, grpc::Code::Internal, mistake.to_string())
            }
        } else {
            Self::new(ErrorCode::InternalError, grpc::Code::Internal, "the server made a mistake")
        }
    }

    /// Appends parameters to the layers' own, which they cannot repeat.
    fn extend_challenge(&mut self, parameters: &ChallengeParameters) {
        if parameters.is_empty() {
            return;
        }
        let parameters = parameters.to_string();
        for challenge in [&mut self.challenge, &mut self.dpop_challenge].into_iter().flatten() {
            if let Ok(extended) = HeaderValue::try_from([challenge.as_bytes(), parameters.as_bytes()].concat()) {
                *challenge = extended;
            }
        }
    }

    fn new(code: ErrorCode, grpc: grpc::Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            grpc,
            detail: detail.into(),
            hint: None,
            challenge: None,
            dpop_challenge: None,
            dpop_nonce: None,
            retry_after: None,
            allow: None,
        }
    }

    fn unauthenticated(detail: &'static str) -> Self {
        Self::new(ErrorCode::Unauthorized, grpc::Code::Unauthenticated, detail)
    }

    fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidRequest, grpc::Code::InvalidArgument, detail)
    }

    fn forbidden(detail: String) -> Self {
        Self::new(ErrorCode::InsufficientScope, grpc::Code::PermissionDenied, detail)
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn problem(&self, path: &str, request_id: &RequestId) -> Response<Bytes> {
        let mut problem = Problem::new(self.code, &*self.detail, path, request_id);
        if let Some(hint) = self.hint {
            problem = problem.with_hint(hint);
        }
        let mut response = self.with_status(Response::new(problem.to_json().into()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
        response
    }

    /// Sets the status, whichever one a renderer chose, and removes lengths that may not be the body's.
    fn with_status(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        *response.status_mut() = self.status();
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().remove(TRANSFER_ENCODING);
        response
    }

    fn write_headers(self, headers: &mut HeaderMap, request_id: &RequestId) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        if let Ok(request_id) = HeaderValue::from_str(request_id.as_str()) {
            headers.insert(X_REQUEST_ID, request_id);
        }
        // A challenge is the layers': one that a renderer wrote may contradict it.
        if self.challenge.is_some() || self.dpop_challenge.is_some() {
            headers.remove(WWW_AUTHENTICATE);
        }
        for challenge in [self.challenge, self.dpop_challenge].into_iter().flatten() {
            headers.append(WWW_AUTHENTICATE, challenge);
        }
        for (name, value) in [(DPOP_NONCE, self.dpop_nonce), (RETRY_AFTER, self.retry_after), (ALLOW, self.allow)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

/// Challenge of RFC 9449 §7.1.
fn dpop_challenge(error: &str, algorithms: &str) -> HeaderValue {
    let challenge = format!("DPoP error=\"{error}\", algs=\"{algorithms}\"");
    HeaderValue::try_from(challenge).unwrap_or_else(|_| HeaderValue::from_static("DPoP"))
}

/// Challenge of RFC 6750 §3.1. The characters of a scope need no escape within quotes (RFC 6749 §3.3).
fn insufficient_scope(required: &[Scope]) -> HeaderValue {
    let scopes = spaced(required);
    let challenge = format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{scopes}""#);
    HeaderValue::try_from(challenge)
        .unwrap_or_else(|_| HeaderValue::from_static(r#"Bearer realm="agentwrit", error="insufficient_scope""#))
}

/// Value of `Allow`, RFC 9110 §10.2.1.
fn allow(methods: &[Method]) -> HeaderValue {
    let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(methods).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Returns the id from an outer layer, else the client's if it is valid, else a new one.
fn request_id(head: &Parts) -> RequestId {
    let given = || head.extensions.get::<RequestId>().cloned();
    let sent = || RequestId::parse(head.headers.get(X_REQUEST_ID)?.to_str().ok()?);
    given().or_else(sent).unwrap_or_else(new_request_id)
}

fn new_request_id() -> RequestId {
    let mut bytes = [0; 8];
    // The id protects nothing: without randomness the rejection goes out under an id of zeros.
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; 8];
    }
    RequestId::from_bytes(bytes)
}

/// Returns the path that the client sent, as far as it is known.
pub(crate) fn path(head: &Parts) -> &str {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = head.extensions.get() {
        return uri.path();
    }
    head.uri.path()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_of_release_build_omits_misconfiguration() {
        let mistake = Misconfiguration::NoSuchParameter { parameter: "patient_id".to_owned() };
        let release = ErrorResponse::misconfigured(&mistake, false);
        assert_eq!((&*release.detail, release.hint), ("the server made a mistake", None));
        let debug = ErrorResponse::misconfigured(&mistake, true);
        assert_eq!(debug.detail, mistake.to_string());
        assert_eq!(
            (debug.status(), release.status()),
            (StatusCode::INTERNAL_SERVER_ERROR, StatusCode::INTERNAL_SERVER_ERROR)
        );
    }
}
