//! Why a token was not accepted.

use std::time::Duration;

use crate::{
    delegation::DelegationChainError,
    identity::{Subject, TokenId},
    revocation::Level,
};

/// Why a token was not accepted, with what explains it. For logs and audit: whoever presented the token is told no
/// more than that it is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Longer than [`MAX_TOKEN_LENGTH`](crate::token::MAX_TOKEN_LENGTH).
    #[error("{length} bytes, at most {limit} are read")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a compact JWS with the claims of an AgentWrit token.
    #[error(transparent)]
    Malformed(#[from] TokenFormatError),
    /// `alg` is neither `EdDSA` nor `Ed25519`.
    #[error("algorithm `{algorithm}` is not accepted")]
    UnsupportedAlgorithm {
        /// `alg`, its first 64 characters.
        algorithm: String,
    },
    /// `typ` is of another kind of document.
    #[error("type `{found}` is not that of a token")]
    UnexpectedType {
        /// `typ`, its first 64 characters.
        found: String,
    },
    /// `crit` is there; no critical extension is known (RFC 7515 §4.1.11).
    #[error("a critical header extension is not understood")]
    CriticalHeader,
    /// The header brings or points to a key.
    #[error("the header brings its own key in `{member}`")]
    KeyInHeader {
        /// Which member.
        member: &'static str,
    },
    /// `kid` names no trusted key, or is missing and there are several.
    #[error("no trusted key is called `{}`", kid.as_deref().unwrap_or("(none)"))]
    UnknownKey {
        /// `kid`, if there is one.
        kid: Option<String>,
    },
    /// The signature doesn't verify (RFC 8032 §5.1.7).
    #[error("the signature does not verify")]
    BadSignature,
    /// `iss` is another authority.
    #[error("issuer `{found}` is not the expected one")]
    WrongIssuer {
        /// `iss`, its first 64 characters.
        found: String,
    },
    /// `aud` doesn't name this service, or this service names no audience and the token does (RFC 7519 §4.1.3).
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// `now >= exp`.
    #[error("expired {} s ago", by.as_secs())]
    Expired {
        /// How long ago.
        by: Duration,
        /// Whom it spoke for.
        subject: Subject,
        /// Which token.
        token_id: TokenId,
    },
    /// `nbf` or `iat` is further ahead than the leeway.
    #[error("not valid for another {} s", by.as_secs())]
    NotYetValid {
        /// How long until then.
        by: Duration,
    },
    /// The delegation chain doesn't hold.
    #[error("the delegation chain does not hold: {0}")]
    Chain(DelegationChainError),
    /// Someone withdrew the token, its session, agent, task or chain.
    #[error("revoked by {level}")]
    Revoked {
        /// What was withdrawn.
        level: Level,
        /// Whom the token spoke for.
        subject: Subject,
        /// Which token.
        token_id: TokenId,
    },
    /// There is no key set yet. Not the token's fault.
    #[error("no key set has been loaded yet")]
    KeysUnavailable,
    /// The key set wasn't confirmed for longer than allowed. Not the token's fault.
    #[error("the key set was last confirmed {} s ago", age.as_secs())]
    KeysStale {
        /// Its age.
        age: Duration,
    },
    /// There is no revocation list yet. Not the token's fault.
    #[error("no revocation list has been loaded yet")]
    RevocationsUnavailable,
    /// The revocation list is older than allowed. Not the token's fault.
    #[error("the revocation list is {} s old, at most {} s are allowed", age.as_secs(), max.as_secs())]
    StaleRevocations {
        /// Its age, the leeway for clocks included.
        age: Duration,
        /// The largest age at which it counts.
        max: Duration,
    },
}

impl VerifyError {
    /// Whether the verifier could not decide: a 503, since the token is not at fault.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::KeysUnavailable
                | Self::KeysStale { .. }
                | Self::RevocationsUnavailable
                | Self::StaleRevocations { .. }
        )
    }

    /// Whom the token spoke for. Known of one that was once good, expired or revoked: of a forged one nothing can be
    /// told.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.identified().map(|(subject, _)| subject)
    }

    /// Which token it was (`jti`); known when the [subject](Self::subject) is.
    #[must_use]
    pub fn token_id(&self) -> Option<TokenId> {
        self.identified().map(|(_, token_id)| token_id)
    }

    fn identified(&self) -> Option<(&Subject, TokenId)> {
        match self {
            Self::Expired { subject, token_id, .. } | Self::Revoked { subject, token_id, .. } => {
                Some((subject, *token_id))
            }
            Self::TooLong { .. }
            | Self::Malformed(_)
            | Self::UnsupportedAlgorithm { .. }
            | Self::UnexpectedType { .. }
            | Self::CriticalHeader
            | Self::KeyInHeader { .. }
            | Self::UnknownKey { .. }
            | Self::BadSignature
            | Self::WrongIssuer { .. }
            | Self::WrongAudience
            | Self::NotYetValid { .. }
            | Self::Chain(_)
            | Self::KeysUnavailable
            | Self::KeysStale { .. }
            | Self::RevocationsUnavailable
            | Self::StaleRevocations { .. } => None,
        }
    }

    /// One word for logs and metrics, out of a fixed list.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedAlgorithm { .. } => "unsupported_algorithm",
            Self::UnexpectedType { .. } => "unexpected_type",
            Self::CriticalHeader => "critical_header",
            Self::KeyInHeader { .. } => "key_in_header",
            Self::UnknownKey { .. } => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::WrongIssuer { .. } => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::Chain(_) => "broken_chain",
            Self::Revoked { .. } => "revoked",
            Self::KeysUnavailable => "keys_unavailable",
            Self::KeysStale { .. } => "keys_stale",
            Self::RevocationsUnavailable => "revocations_unavailable",
            Self::StaleRevocations { .. } => "stale_revocations",
        }
    }
}

/// What is wrong with the form of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFormatError {
    /// Not `header.payload.signature`.
    #[error("a token has three parts")]
    NotThreeParts,
    /// A part that isn't canonical unpadded base64url.
    #[error("a part is not unpadded base64url")]
    Base64,
    /// The header isn't a JOSE header.
    #[error("malformed header: {message}")]
    Header {
        /// What the JSON reader says.
        message: String,
    },
    /// The payload isn't a claim set.
    #[error("malformed claims: {message}")]
    Claims {
        /// What the JSON reader says.
        message: String,
    },
    /// `kid` is empty or over 128 bytes.
    #[error("a key id is 1 to 128 printable ASCII characters")]
    KeyId,
    /// The signature isn't 64 bytes.
    #[error("an Ed25519 signature is 64 bytes")]
    SignatureLength,
}
