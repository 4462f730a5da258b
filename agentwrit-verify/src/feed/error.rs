//! Reasons for rejecting a response of the feed.

use std::time::Duration;

use crate::{clock::UnixTime, error::VerifyError, jws::shorten};

/// Reason for rejecting a response of the feed. The list is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// Longer than allowed.
    #[error("a response of more than {limit} bytes")]
    TooLong {
        /// Length in bytes, or the number of bytes read before the limit.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a well-formed compact JWS.
    #[error("not a signed response: {0}")]
    NotSigned(VerifyError),
    /// `typ` is of another kind of document; a token, for one.
    #[error("type `{found}` is not that of the revocation feed")]
    UnexpectedType {
        /// `typ`, its first 64 characters; empty when there is none.
        found: String,
    },
    /// `kid` names no trusted key: perhaps a new one.
    #[error("no trusted key is called `{}`", kid.as_deref().unwrap_or("(none)"))]
    UnknownKey {
        /// `kid`, if there is one.
        kid: Option<String>,
    },
    /// The signature doesn't verify: forged.
    #[error("the signature does not verify")]
    BadSignature,
    /// Signed, but not what a broker writes.
    #[error("malformed response: {message}")]
    Malformed {
        /// Message of the JSON parser.
        message: String,
    },
    /// `iss` is another authority.
    #[error("issuer `{found}` is not the expected one")]
    WrongIssuer {
        /// `iss`, its first 64 characters.
        found: String,
    },
    /// `iat` lies further ahead than the leeway: this clock is behind, or the broker's ahead.
    #[error("issued {} s further ahead than clocks may differ: compare this clock with the broker's", by.as_secs())]
    IssuedAhead {
        /// Excess over the leeway.
        by: Duration,
    },
    /// `now >= exp`.
    #[error("expired {} s ago", by.as_secs())]
    Expired {
        /// Time since the expiry.
        by: Duration,
    },
    /// `iat` is older than one that was accepted.
    #[error("an old response: issued at {issued_at}, and {accepted} was reached before")]
    Replayed {
        /// `iat` of the response.
        issued_at: UnixTime,
        /// The latest that was accepted.
        accepted: UnixTime,
    },
    /// The log of the epoch ends before our cursor.
    #[error("the log goes back: it ends at {to}, and {cursor} was reached before")]
    RolledBack {
        /// Cursor at the end of the log.
        to: u64,
        /// Our cursor.
        cursor: u64,
    },
    /// The log is of another epoch. Request a snapshot.
    #[error("the log is of another epoch")]
    NewEpoch,
    /// The response starts beyond our cursor. Request a snapshot.
    #[error("a gap: the response begins at {from}, and {cursor} was reached before")]
    Gap {
        /// Cursor at the start of the response.
        from: u64,
        /// Our cursor; 0 when nothing was applied yet.
        cursor: u64,
    },
}

impl FeedError {
    pub(super) fn foreign(issuer: &str) -> Self {
        Self::WrongIssuer { found: shorten(issuer) }
    }

    /// Returns true when a snapshot may help.
    #[must_use]
    pub fn needs_snapshot(&self) -> bool {
        matches!(self, Self::NewEpoch | Self::Gap { .. })
    }

    /// Returns true when a newer key set may help.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        matches!(self, Self::UnknownKey { .. })
    }

    /// Returns a reason code for logs and metrics, out of a fixed list.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::NotSigned(_) => "not_signed",
            Self::UnexpectedType { .. } => "unexpected_type",
            Self::UnknownKey { .. } => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Malformed { .. } => "malformed",
            Self::WrongIssuer { .. } => "wrong_issuer",
            Self::IssuedAhead { .. } => "issued_ahead",
            Self::Expired { .. } => "expired",
            Self::Replayed { .. } => "replayed",
            Self::RolledBack { .. } => "rolled_back",
            Self::NewEpoch => "new_epoch",
            Self::Gap { .. } => "gap",
        }
    }
}
