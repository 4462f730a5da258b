//! Reasons for rejecting a proof.

use std::{fmt, time::Duration};

/// Reason for rejecting a proof, one for each check of RFC 9449 §4.3, for logs and audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The request has no `DPoP` header.
    #[error("the request contains no proof")]
    Missing,
    /// The request has several `DPoP` headers (check 1).
    #[error("the request contains several proofs")]
    Several,
    /// Longer than [`MAX_PROOF_LENGTH`](super::MAX_PROOF_LENGTH).
    #[error("the proof has {length} bytes, at most {limit} are read")]
    TooLong {
        /// Length of the proof in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a single well-formed JWT (check 2).
    #[error("malformed proof: {message}")]
    Malformed {
        /// Message of the parser.
        message: String,
    },
    /// A required header parameter or claim is missing (check 3).
    #[error("the proof has no `{member}`")]
    MissingMember {
        /// Name of the member.
        member: &'static str,
    },
    /// `typ` is not `dpop+jwt` (check 4).
    #[error("type `{found}` is not that of a proof")]
    WrongType {
        /// `typ`, its first 64 characters.
        found: String,
    },
    /// `alg` is not one of those that [are accepted](super::ProofVerifier::algorithms) (check 5).
    #[error("algorithm `{algorithm}` is not accepted")]
    UnsupportedAlgorithm {
        /// `alg`, its first 64 characters.
        algorithm: String,
    },
    /// `crit` is there; no critical extension is known (RFC 7515 §4.1.11).
    #[error("a critical header extension is not understood")]
    CriticalHeader,
    /// The header references a second key.
    #[error("the header of the proof references another key in `{member}`")]
    OtherKey {
        /// Name of the header member.
        member: &'static str,
    },
    /// The signature does not verify with the `jwk` (check 6).
    #[error("the signature of the proof does not verify")]
    BadSignature,
    /// `jwk` contains a private key (check 7).
    #[error("the proof contains a private key")]
    PrivateKey,
    /// `jwk` is not a public key of an accepted type, or one that signs nothing safely.
    #[error("the key of the proof is not accepted")]
    InvalidKey,
    /// `htm` is another method (check 8).
    #[error("the proof is for method `{found}`")]
    WrongMethod {
        /// `htm`, its first 64 characters.
        found: String,
    },
    /// `htu` is another URL (check 9).
    #[error("the proof is for URL `{found}`")]
    WrongUrl {
        /// `htu`, its first 256 characters.
        found: String,
    },
    /// The path of the request is not a normalised absolute path: no proof covers it.
    #[error("the path of the request has dot segments or is not a path")]
    AmbiguousPath,
    /// There is no external URL to compare `htu` with. Not the client's fault.
    #[error("no external URL is configured, and no trusted proxy named one")]
    NoExternalUrl,
    /// The nonce is missing, or is not a valid one of this service (check 10): the client signs again with this one.
    #[error("the proof lacks a valid nonce of this service")]
    NonceRequired {
        /// Value of the response header `DPoP-Nonce`.
        nonce: String,
    },
    /// `iat` is older than the window, or `exp` has passed (check 11).
    #[error("the proof was made {} s too early", by.as_secs())]
    TooOld {
        /// Time by which it is too old.
        by: Duration,
    },
    /// `iat` or `nbf` is further ahead than the leeway (check 11).
    #[error("the proof is not valid for another {} s", by.as_secs())]
    NotYetValid {
        /// Time until it is valid.
        by: Duration,
    },
    /// `ath` is the hash of another token (check 12).
    #[error("the proof is for another access token")]
    WrongToken,
    /// The proof is by another key than that of the token (check 12).
    #[error("the proof is by another key than that of the token")]
    WrongKey,
    /// The proof was accepted before (§11.1).
    #[error("the proof was used before")]
    Replayed,
    /// The replay table is full and cannot tell whether the proof was used before: the client signs a fresh one.
    #[error("the proof is older than those that the replay table still records")]
    Superseded,
}

impl ProofError {
    /// Returns a reason code for logs and metrics, out of a fixed list.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "proof_missing",
            Self::Several => "proof_several",
            Self::TooLong { .. } => "proof_too_long",
            Self::Malformed { .. } => "proof_malformed",
            Self::MissingMember { .. } => "proof_incomplete",
            Self::WrongType { .. } => "proof_wrong_type",
            Self::UnsupportedAlgorithm { .. } => "proof_unsupported_algorithm",
            Self::CriticalHeader => "proof_critical_header",
            Self::OtherKey { .. } => "proof_other_key",
            Self::BadSignature => "proof_bad_signature",
            Self::PrivateKey => "proof_private_key",
            Self::InvalidKey => "proof_invalid_key",
            Self::WrongMethod { .. } => "proof_wrong_method",
            Self::WrongUrl { .. } => "proof_wrong_url",
            Self::AmbiguousPath => "proof_ambiguous_path",
            Self::NoExternalUrl => "proof_no_external_url",
            Self::NonceRequired { .. } => "proof_nonce_required",
            Self::TooOld { .. } => "proof_too_old",
            Self::NotYetValid { .. } => "proof_not_yet_valid",
            Self::WrongToken => "proof_wrong_token",
            Self::WrongKey => "proof_wrong_key",
            Self::Replayed => "proof_replayed",
            Self::Superseded => "proof_superseded",
        }
    }

    /// Returns the nonce that the client must sign, for the response header `DPoP-Nonce` (§8).
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        if let Self::NonceRequired { nonce } = self { Some(nonce) } else { None }
    }

    /// Returns the error code for the challenge (§7.1): `use_dpop_nonce`, otherwise `invalid_dpop_proof`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        if self.nonce().is_some() { "use_dpop_nonce" } else { "invalid_dpop_proof" }
    }

    pub(super) fn malformed(message: &dyn fmt::Display) -> Self {
        Self::Malformed { message: message.to_string() }
    }
}
