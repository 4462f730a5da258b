//! Request bodies as a broker reads them.

use agentwrit_json::JsonError;
use serde::de::DeserializeOwned;

use crate::{ErrorCode, limits::MAX_JSON_DEPTH};

/// A request body: one JSON object, read strictly.
///
/// 1. A member that the request does not name is checked and dropped; no tree of values is built.
/// 2. A named member keeps at most what its rule allows, whatever the length of what was sent.
/// 3. `null` is absence.
/// 4. Every error names the member and says what it must be.
pub trait JsonRequest: Sized {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// [`RequestError`] of the first member that is at fault, in the order of the type's fields.
    fn from_json(body: &[u8]) -> Result<Self, RequestError>;
}

/// A request is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The body is not one well-formed JSON object.
    #[error("the body is not the JSON object that is expected: {0}")]
    Json(JsonError),
    /// A member or parameter is missing or malformed.
    #[error("{name}: {problem}")]
    Invalid {
        /// Name of the member.
        name: &'static str,
        /// Condition that it must meet.
        problem: String,
    },
    /// The body is meant for another endpoint.
    #[error("{name}: is required")]
    OtherEndpoint {
        /// Member that is missing.
        name: &'static str,
        /// Endpoint that takes the body.
        hint: &'static str,
    },
    /// A lifetime is out of its range.
    #[error("{name}: must be {least} to {most} seconds")]
    TtlOutOfRange {
        /// Name of the member.
        name: &'static str,
        /// Shortest lifetime.
        least: u64,
        /// Longest lifetime.
        most: u64,
    },
    /// A lifetime that the broker would shorten if it were too long is not positive.
    #[error("{name}: must be at least 1 second")]
    TtlNotPositive {
        /// Name of the member.
        name: &'static str,
    },
}

impl RequestError {
    /// Names a member or parameter and the condition that it must meet.
    pub fn invalid(name: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { name, problem: problem.into() }
    }

    /// Code of the problem.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Json(_) | Self::Invalid { .. } | Self::OtherEndpoint { .. } => ErrorCode::InvalidRequest,
            Self::TtlOutOfRange { .. } | Self::TtlNotPositive { .. } => ErrorCode::InvalidTtl,
        }
    }

    /// Hint of the problem.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OtherEndpoint { hint, .. } => Some(hint),
            Self::Json(_) | Self::Invalid { .. } | Self::TtlOutOfRange { .. } | Self::TtlNotPositive { .. } => None,
        }
    }
}

/// Reads the named members of a body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    agentwrit_json::object_from_slice(body, MAX_JSON_DEPTH).map_err(RequestError::Json)
}
