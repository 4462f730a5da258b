//! Why an answer was refused.

use std::time::Duration;

use crate::{clock::UnixTime, error::VerifyError, jws::shorten};

/// Why an answer of the feed was not applied. The list is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// Longer than allowed.
    #[error("an answer of more than {limit} bytes")]
    TooLong {
        /// Its length in bytes, or as much as was read of it.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a compact JWS as it must be.
    #[error("not a signed answer: {0}")]
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
    #[error("malformed answer: {message}")]
    Malformed {
        /// What the JSON reader says.
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
        /// How much further.
        by: Duration,
    },
    /// `now >= exp`.
    #[error("expired {} s ago", by.as_secs())]
    Expired {
        /// How long ago.
        by: Duration,
    },
    /// `iat` is older than one that was accepted.
    #[error("an old answer: issued at {issued_at}, and {accepted} was reached before")]
    Replayed {
        /// Its `iat`.
        issued_at: UnixTime,
        /// The latest that was accepted.
        accepted: UnixTime,
    },
    /// The log of the epoch ends before our cursor.
    #[error("the log goes back: it ends at {to}, and {cursor} was reached before")]
    RolledBack {
        /// Where it ends.
        to: u64,
        /// Our cursor.
        cursor: u64,
    },
    /// The log is another one. Ask for a snapshot.
    #[error("the log is of another epoch")]
    NewEpoch,
    /// It begins beyond our cursor. Ask for a snapshot.
    #[error("a gap: the answer begins at {from}, and {cursor} was reached before")]
    Gap {
        /// Where it begins.
        from: u64,
        /// Our cursor; 0 when nothing was applied yet.
        cursor: u64,
    },
}

impl FeedError {
    pub(super) fn foreign(issuer: &str) -> Self {
        Self::WrongIssuer { found: shorten(issuer) }
    }

    /// Whether a snapshot would help.
    #[must_use]
    pub fn needs_snapshot(&self) -> bool {
        matches!(self, Self::NewEpoch | Self::Gap { .. })
    }

    /// Whether a newer key set might help.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        matches!(self, Self::UnknownKey { .. })
    }

    /// One word for logs and metrics, out of a fixed list.
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
