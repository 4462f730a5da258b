//! Reasons for rejecting a token.

use std::time::Duration;

use crate::{
    delegation::DelegationChainError,
    identity::{Subject, TokenId},
    proof::ProofError,
    revocation_key::Level,
};

/// Reason for rejecting a token, for logs and audit. Tell the client that presented it only that the token is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Longer than [`MAX_TOKEN_LENGTH`](crate::token::MAX_TOKEN_LENGTH).
    #[error("{length} bytes, at most {limit} are read")]
    TooLong {
        /// Length of the token in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Neither a compact JWS nor one with the claims of an `AgentWrit` token.
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
    /// The header contains or references a key.
    #[error("the header brings its own key in `{member}`")]
    KeyInHeader {
        /// Name of the header member.
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
        /// Time since the expiry.
        by: Duration,
        /// Subject of the token.
        subject: Subject,
        /// Id of the token.
        token_id: TokenId,
    },
    /// `nbf` or `iat` is further ahead than the leeway.
    #[error("not valid for another {} s", by.as_secs())]
    NotYetValid {
        /// Time until the token is valid.
        by: Duration,
    },
    /// The delegation chain doesn't hold.
    #[error("the delegation chain does not hold: {0}")]
    Chain(DelegationChainError),
    /// The token, its session, agent, task or chain was revoked.
    #[error("revoked by {level}")]
    Revoked {
        /// Level of the revocation.
        level: Level,
        /// Subject of the token.
        subject: Subject,
        /// Id of the token.
        token_id: TokenId,
    },
    /// The token is sender-constrained and was presented without a proof of its key (RFC 9449 §7.2). Every other check
    /// passed.
    #[error("the token is bound to a key, and no proof of the key was presented")]
    ProofRequired {
        /// Subject of the token.
        subject: Subject,
        /// Id of the token.
        token_id: TokenId,
    },
    /// The token is not sender-constrained, and the request demands it by its scheme `DPoP` or the service by
    /// [`require_proof`](crate::proof::ProofVerifierBuilder::require_proof).
    #[error("the token is not bound to a key")]
    NotSenderConstrained {
        /// Subject of the token.
        subject: Subject,
        /// Id of the token.
        token_id: TokenId,
    },
    /// The token is valid, and the proof of its sender is not.
    #[error("{error}")]
    Proof {
        /// Reason for rejecting the proof.
        error: ProofError,
        /// Subject of the token.
        subject: Subject,
        /// Id of the token.
        token_id: TokenId,
    },
    /// There is no key set yet. Not the token's fault.
    #[error("no key set has been loaded yet")]
    KeysUnavailable,
    /// The broker announces the key of the token, and it could not be fetched yet. Not the token's fault.
    #[error("key `{kid}` is announced and could not be fetched yet")]
    KeyNotFetched {
        /// `kid`.
        kid: String,
    },
    /// The key set wasn't confirmed for longer than allowed. Not the token's fault.
    #[error("the key set was last confirmed {} s ago", age.as_secs())]
    KeysStale {
        /// Age of the key set.
        age: Duration,
    },
    /// There is no revocation list yet. Not the token's fault.
    #[error("no revocation list has been loaded yet")]
    RevocationsUnavailable,
    /// The revocation list is older than allowed. Not the token's fault.
    #[error("the revocation list is {} s old, at most {} s are allowed", age.as_secs(), max.as_secs())]
    StaleRevocations {
        /// Age of the list, including the leeway for clocks.
        age: Duration,
        /// The largest age at which it counts.
        max: Duration,
    },
    /// The broker accepted no report of this instance yet, or none for longer than the
    /// [lease](crate::report::Report::LEASE), or the follower has left. Not the token's fault.
    #[error("the broker has accepted no recent report of this instance")]
    NotReported,
}

impl VerifyError {
    /// Returns true when the verifier could not decide: respond 503, since the token may be valid.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::KeysUnavailable
                | Self::KeyNotFetched { .. }
                | Self::KeysStale { .. }
                | Self::RevocationsUnavailable
                | Self::StaleRevocations { .. }
                | Self::NotReported
        )
    }

    /// Returns the subject of a token that has expired, was revoked or was presented without a valid proof; the claims of
    /// other rejected tokens are not verified.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        self.identified().map(|(subject, _)| subject)
    }

    /// Returns the id (`jti`) of a token whose [subject](Self::subject) is known.
    #[must_use]
    pub fn token_id(&self) -> Option<TokenId> {
        self.identified().map(|(_, token_id)| token_id)
    }

    fn identified(&self) -> Option<(&Subject, TokenId)> {
        match self {
            Self::Expired { subject, token_id, .. }
            | Self::Revoked { subject, token_id, .. }
            | Self::ProofRequired { subject, token_id }
            | Self::NotSenderConstrained { subject, token_id }
            | Self::Proof { subject, token_id, .. } => Some((subject, *token_id)),
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
            | Self::KeyNotFetched { .. }
            | Self::KeysStale { .. }
            | Self::RevocationsUnavailable
            | Self::StaleRevocations { .. }
            | Self::NotReported => None,
        }
    }

    /// Returns a reason code for logs and metrics, out of a fixed list.
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
            Self::ProofRequired { .. } => "proof_required",
            Self::NotSenderConstrained { .. } => "not_sender_constrained",
            Self::Proof { error, .. } => error.reason(),
            Self::KeysUnavailable => "keys_unavailable",
            Self::KeyNotFetched { .. } => "key_not_fetched",
            Self::KeysStale { .. } => "keys_stale",
            Self::RevocationsUnavailable => "revocations_unavailable",
            Self::StaleRevocations { .. } => "stale_revocations",
            Self::NotReported => "not_reported",
        }
    }
}

/// Defect in the encoding of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFormatError {
    /// Not of the form `header.payload.signature`.
    #[error("a token has three parts")]
    NotThreeParts,
    /// A part that isn't canonical unpadded base64url.
    #[error("a part is not unpadded base64url")]
    Base64,
    /// The header isn't a JOSE header.
    #[error("malformed header: {message}")]
    Header {
        /// Message of the JSON parser.
        message: String,
    },
    /// The payload isn't a claim set.
    #[error("malformed claims: {message}")]
    Claims {
        /// Message of the JSON parser.
        message: String,
    },
    /// `kid` is empty or over 128 bytes.
    #[error("a key id is 1 to 128 printable ASCII characters")]
    KeyId,
    /// The signature isn't 64 bytes.
    #[error("an Ed25519 signature is 64 bytes")]
    SignatureLength,
}
