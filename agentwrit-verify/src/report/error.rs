//! Reasons for rejecting a report.

use std::time::Duration;

use crate::error::VerifyError;

/// Reason for rejecting a report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Not a well-formed compact JWS, or too long.
    #[error("not a signed report: {0}")]
    NotSigned(VerifyError),
    /// `typ` is of another kind of document.
    #[error("type `{found}` is not that of a report")]
    UnexpectedType {
        /// `typ`, its first 64 characters; empty when there is none.
        found: String,
    },
    /// The payload is not that of a report.
    #[error("malformed report: {message}")]
    Malformed {
        /// Defect of the payload.
        message: String,
    },
    /// `kid` names another key than the enrolled one.
    #[error("signed with key `{}`, which is not the enrolled one", kid.as_deref().unwrap_or("(none)"))]
    OtherKey {
        /// `kid`, its first 64 characters.
        kid: Option<String>,
    },
    /// The signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// `aud` is another issuer.
    #[error("audience `{found}` is not this broker's issuer")]
    WrongAudience {
        /// `aud`, its first 64 characters.
        found: String,
    },
    /// `iat` differs from the broker's clock by more than [`Report::MAX_CLOCK_DIFFERENCE`](super::Report).
    #[error("made {} s from now by the verifier's clock: compare it with the broker's", by.as_secs())]
    NotCurrent {
        /// The difference.
        by: Duration,
    },
}

impl ReportError {
    /// Returns a reason code for logs and metrics, out of a fixed list.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotSigned(_) => "not_signed",
            Self::UnexpectedType { .. } => "unexpected_type",
            Self::Malformed { .. } => "malformed",
            Self::OtherKey { .. } => "other_key",
            Self::BadSignature => "bad_signature",
            Self::WrongAudience { .. } => "wrong_audience",
            Self::NotCurrent { .. } => "not_current",
        }
    }
}
