//! A response, and assertions on it.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::pattern;

/// Response of the broker.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    pub(crate) path: String,
    pub(crate) line: String,
}

impl Response {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{}: several `{name}`", self.line);
        Some(value.to_str().unwrap())
    }

    /// The body.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.shown()))
    }

    /// Asserts the status and the whole JSON body, and gives the body.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "a literal `json!` is what callers have")]
    pub fn expect(&self, status: u16, body: Value) -> Value {
        assert_eq!(self.status, status, "{}", self.shown());
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.shown());
        let actual = self.json();
        if let Err(difference) = pattern::compare(&body, &actual) {
            panic!("{difference}\n{}", self.shown());
        }
        actual
    }

    /// Asserts that the response is a problem with exactly this `detail`, complete and consistent, and gives its `hint`.
    #[track_caller]
    pub fn refused(&self, status: u16, error_code: &str, detail: &str) -> Option<String> {
        let (said, hint) = self.problem(status, error_code);
        assert_eq!(said, detail, "{}", self.shown());
        hint
    }

    /// Asserts that the response is a complete problem whose `detail` names `field`.
    #[track_caller]
    pub fn refused_for(&self, status: u16, error_code: &str, field: &str) {
        let (said, _) = self.problem(status, error_code);
        assert!(said.contains(field), "`{field}` is not in `{said}`: {}", self.shown());
    }

    /// Asserts that the response is a complete problem, and gives `detail` and `hint`.
    #[track_caller]
    pub fn problem(&self, status: u16, error_code: &str) -> (String, Option<String>) {
        assert_eq!(self.status, status, "{}", self.shown());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.shown());
        let mut actual = self.json();
        let hint = actual.as_object_mut().and_then(|members| members.remove("hint"));
        let expected = json!({
            "type": format!("urn:agentwrit:error:{error_code}"),
            "title": StatusCode::from_u16(status).unwrap().canonical_reason(),
            "status": status,
            "detail": "$sentence",
            "instance": self.path,
            "error_code": error_code,
            "request_id": self.header("x-request-id").unwrap_or_default(),
        });
        if let Err(difference) = pattern::compare(&expected, &actual) {
            panic!("{difference}\n{}", self.shown());
        }
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&actual["detail"]), hint.as_ref().map(text))
    }

    fn shown(&self) -> String {
        format!("{} → {}\n{}", self.line, self.status, String::from_utf8_lossy(&self.body))
    }
}
