//! Problem details (RFC 9457): the body of every response that rejects a request.

use serde::{Deserialize, Serialize};

use crate::RequestId;

/// Body of an `application/problem+json` response.
///
/// Every member has a default when it is read, so that a problem from another server is still shown as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Problem {
    /// `urn:agentwrit:error:<error_code>`.
    pub r#type: String,
    /// The HTTP reason phrase.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// One sentence for a person.
    pub detail: String,
    /// The request's path.
    pub instance: String,
    /// Machine-readable reason: the name of an [`ErrorCode`].
    pub error_code: String,
    /// The request's id, to find it in the log.
    pub request_id: String,
    /// Next step for the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// The media type of a problem.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// Describes an error without a hint.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>, instance: &str, request_id: &RequestId) -> Self {
        Self {
            r#type: format!("urn:agentwrit:error:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            instance: instance.to_owned(),
            error_code: code.as_str().to_owned(),
            request_id: request_id.as_str().to_owned(),
            hint: None,
        }
    }

    /// Adds a next step for the caller.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Encodes the body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and a number always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Machine-readable reasons for rejecting a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the list is part of the wire contract")]
pub enum ErrorCode {
    /// 400: malformed JSON, a missing or malformed field, a bad scope or query parameter.
    InvalidRequest,
    /// 400: a lifetime out of its range.
    InvalidTtl,
    /// 401: bad credentials or a bad token.
    Unauthorized,
    /// 403: asked for more than is allowed.
    ScopeViolation,
    /// 403: a valid token that lacks the scope that the route needs.
    InsufficientScope,
    /// 404: no such app, agent, launch token or path.
    NotFound,
    /// 405: the path does not take the method.
    MethodNotAllowed,
    /// 409: the name is taken.
    Conflict,
    /// 413: the body is over its limit.
    PayloadTooLarge,
    /// 429: too many requests.
    RateLimited,
    /// 500: a defect.
    InternalError,
    /// 503: the request can be neither decided nor stored now; nothing was done.
    Unavailable,
    /// 503: the request may have been executed; the broker could not find out in time.
    OutcomeUnknown,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: &[Self] = &[
        Self::InvalidRequest,
        Self::InvalidTtl,
        Self::Unauthorized,
        Self::ScopeViolation,
        Self::InsufficientScope,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PayloadTooLarge,
        Self::RateLimited,
        Self::InternalError,
        Self::Unavailable,
        Self::OutcomeUnknown,
    ];

    /// The `error_code` on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        self.parts().1
    }

    /// The HTTP reason phrase.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    fn parts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400, "Bad Request"),
            Self::InvalidTtl => ("invalid_ttl", 400, "Bad Request"),
            Self::Unauthorized => ("unauthorized", 401, "Unauthorized"),
            Self::ScopeViolation => ("scope_violation", 403, "Forbidden"),
            Self::InsufficientScope => ("insufficient_scope", 403, "Forbidden"),
            Self::NotFound => ("not_found", 404, "Not Found"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "Method Not Allowed"),
            Self::Conflict => ("conflict", 409, "Conflict"),
            Self::PayloadTooLarge => ("payload_too_large", 413, "Payload Too Large"),
            Self::RateLimited => ("rate_limited", 429, "Too Many Requests"),
            Self::InternalError => ("internal_error", 500, "Internal Server Error"),
            Self::Unavailable => ("unavailable", 503, "Service Unavailable"),
            Self::OutcomeUnknown => ("outcome_unknown", 503, "Service Unavailable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_member_of_problem() {
        let id = RequestId::from_bytes([1; 8]);
        let problem = Problem::new(ErrorCode::RateLimited, "slow down", "/v1/app/auth", &id).with_hint("wait");
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({
                "type": "urn:agentwrit:error:rate_limited", "title": "Too Many Requests", "status": 429,
                "detail": "slow down", "instance": "/v1/app/auth", "error_code": "rate_limited",
                "request_id": "0101010101010101", "hint": "wait",
            })
        );
    }

    #[test]
    fn reads_known_members_of_foreign_problem() {
        let problem: Problem = serde_json::from_str(r#"{"title":"Teapot","extra":1}"#).unwrap();
        assert_eq!(problem, Problem { title: "Teapot".into(), ..Problem::default() });
    }
}
