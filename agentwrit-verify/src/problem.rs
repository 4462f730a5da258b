//! Problem details (RFC 9457): how every refusal of the broker and of a protected route is written.

use serde::{Deserialize, Serialize};

/// The body of an `application/problem+json` answer.
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
    /// What went wrong, for a program: see [`ErrorCode`].
    pub error_code: String,
    /// The request's id, to find it in the log.
    pub request_id: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// The media type of a problem.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// A problem without a hint.
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

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and a number always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The kinds of refusal.
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
    /// 404: no such thing or path.
    NotFound,
    /// 405: the path exists, the method doesn't.
    MethodNotAllowed,
    /// 409: the name is taken.
    Conflict,
    /// 413: the body is over its limit.
    PayloadTooLarge,
    /// 429: too many requests.
    RateLimited,
    /// 500: a defect.
    InternalError,
    /// 503: can't decide or can't store now; nothing was done.
    Unavailable,
}

impl ErrorCode {
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
        }
    }
}

/// What a request is called in answers and logs: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The header that carries it.
    pub const HEADER: &str = "x-request-id";

    /// Takes a client's value if it is well formed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = matches!(text.len(), 1..=128)
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        valid.then(|| Self(text.into()))
    }

    /// Makes one of 16 hexadecimal characters.
    #[must_use]
    pub fn from_bytes(random: [u8; 8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&random).into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_in_full() {
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
    fn a_foreign_problem_is_read_as_far_as_it_goes() {
        let problem: Problem = serde_json::from_str(r#"{"title":"Teapot","extra":1}"#).unwrap();
        assert_eq!(problem, Problem { title: "Teapot".into(), ..Problem::default() });
    }

    #[test]
    fn request_ids_are_checked() {
        assert_eq!(RequestId::parse("a.B_9-").map(|id| id.as_str().to_owned()).as_deref(), Some("a.B_9-"));
        for text in ["", "a b", "a\nb", "é", &"a".repeat(129)] {
            assert_eq!(RequestId::parse(text), None, "{text:?}");
        }
    }
}
