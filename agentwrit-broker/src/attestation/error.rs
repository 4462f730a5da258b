//! Reasons for rejecting an attestation.

/// Reason for rejecting an attestation. For log, metrics and audit trail: the client receives one text for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum AttestationError {
    /// Longer than 8 KiB.
    #[error("the token is too long")]
    TokenTooLong,
    /// Not a compact JWS with a header and claims by the rules of [`token`](super::token).
    #[error("the token is malformed")]
    MalformedToken,
    /// `typ` is not that of an identity token.
    #[error("the token's `typ` is not `JWT`")]
    UnsupportedType,
    /// `crit` or `b64` in the header.
    #[error("the token's header has extensions that change its meaning")]
    CriticalHeader,
    /// `alg` is not `RS256`, `ES256` or `EdDSA`.
    #[error("the token's algorithm is not supported")]
    UnsupportedAlgorithm,
    /// No rule of the attestation's kind names the issuer.
    #[error("no trust rule names the token's issuer")]
    UnknownIssuer,
    /// The rule's key set has no usable key of that `kid`.
    #[error("the token's key is not in the issuer's key set")]
    UnknownKey,
    /// No `kid`, and the key set has several usable keys.
    #[error("the token names no key, and the issuer has several")]
    KeyIdMissing,
    /// Several keys of the set have that `kid` and algorithm.
    #[error("the issuer's key set has several keys of the token's key id")]
    AmbiguousKey,
    /// The key named is for another algorithm than the header's.
    #[error("the token's algorithm is not that of its key")]
    WrongAlgorithm,
    /// The signature is not that of the key.
    #[error("the token's signature is invalid")]
    BadSignature,
    /// A registered claim is missing or of the wrong type.
    #[error("the token's claims are malformed")]
    MalformedClaims,
    /// No `exp`.
    #[error("the token has no expiry")]
    ExpiryMissing,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Valid for more than 24 hours.
    #[error("the token's lifetime is too long")]
    LifetimeTooLong,
    /// `aud` does not contain the rule's audience.
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// `sub` is not a subject of the rule's kind: a service account, a SPIFFE id of the rule's trust domain.
    #[error("the token's subject is not one of its kind")]
    InvalidSubject,
    /// The claims do not satisfy the rule.
    #[error("the token's claims do not match the rule")]
    ClaimsMismatch,
    /// The pod that the token is bound to was deleted.
    #[error("the token's pod was deleted")]
    PodDeleted,
    /// The broker did not list the pods of its cluster yet.
    #[error("the pods of the cluster were not listed yet")]
    PodsNotListed,
    /// The API server does not authenticate the token for the rule's audience.
    #[error("the API server rejects the token")]
    TokenReviewRejected,
    /// The API server gave no usable response.
    #[error("the API server is unreachable")]
    TokenReviewUnavailable,
    /// There is no key set: the issuer is unreachable, or what it serves is not one.
    #[error("the issuer's key set is unreachable")]
    KeySetUnavailable,
}

impl AttestationError {
    /// Every reason, in the order of the checks.
    pub(crate) const ALL: [Self; 24] = [
        Self::TokenTooLong,
        Self::MalformedToken,
        Self::UnsupportedType,
        Self::CriticalHeader,
        Self::UnsupportedAlgorithm,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::KeyIdMissing,
        Self::AmbiguousKey,
        Self::WrongAlgorithm,
        Self::BadSignature,
        Self::MalformedClaims,
        Self::ExpiryMissing,
        Self::Expired,
        Self::NotYetValid,
        Self::LifetimeTooLong,
        Self::AudienceMismatch,
        Self::InvalidSubject,
        Self::ClaimsMismatch,
        Self::PodDeleted,
        Self::TokenReviewRejected,
        Self::PodsNotListed,
        Self::TokenReviewUnavailable,
        Self::KeySetUnavailable,
    ];

    /// Returns the stable name of the reason.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TokenTooLong => "token_too_long",
            Self::MalformedToken => "malformed_token",
            Self::UnsupportedType => "unsupported_type",
            Self::CriticalHeader => "critical_header",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::KeyIdMissing => "key_id_missing",
            Self::AmbiguousKey => "ambiguous_key",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::MalformedClaims => "malformed_claims",
            Self::ExpiryMissing => "expiry_missing",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::AudienceMismatch => "audience_mismatch",
            Self::InvalidSubject => "invalid_subject",
            Self::ClaimsMismatch => "claims_mismatch",
            Self::PodDeleted => "pod_deleted",
            Self::PodsNotListed => "pods_not_listed",
            Self::TokenReviewRejected => "token_review_rejected",
            Self::TokenReviewUnavailable => "token_review_unavailable",
            Self::KeySetUnavailable => "key_set_unavailable",
        }
    }

    /// Returns true if the same token may be accepted later: the response is 503, and nothing is consumed.
    pub(crate) fn is_temporary(self) -> bool {
        matches!(self, Self::PodsNotListed | Self::TokenReviewUnavailable | Self::KeySetUnavailable)
    }

    /// Returns true if the keys that the token names refuse its signature.
    fn refuses_signature(self) -> bool {
        matches!(self, Self::WrongAlgorithm | Self::BadSignature)
    }
}

/// Reasons of the rules that do not permit a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reasons {
    latest: Option<AttestationError>,
    temporary: Option<AttestationError>,
}

impl Reasons {
    /// Adds the reason of a rule.
    pub(super) fn add(&mut self, reason: AttestationError) {
        let place = |reason| AttestationError::ALL.iter().position(|known| *known == reason);
        if reason.is_temporary() {
            self.temporary = Some(reason);
        } else if self.latest.is_none_or(|latest| place(reason) > place(latest)) {
            self.latest = Some(reason);
        }
    }

    /// Returns the reason of the check that came latest: with several rules it tells most. A rule that cannot judge the token now
    /// comes before it, because it may permit the token later, unless keys of the issuer refuse the signature: one rule whose
    /// issuer is away must not have every forged token answered as if it could be right.
    pub(super) fn most_telling(self) -> AttestationError {
        match (self.latest, self.temporary) {
            (Some(latest), Some(_)) if latest.refuses_signature() => latest,
            (latest, temporary) => temporary.or(latest).unwrap_or(AttestationError::UnknownIssuer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_of_reasons_are_distinct_and_snake_case() {
        let names: HashSet<&str> = AttestationError::ALL.into_iter().map(AttestationError::reason).collect();
        assert_eq!(names.len(), AttestationError::ALL.len());
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    }

    fn of(reasons: &[AttestationError]) -> AttestationError {
        let mut all = Reasons::default();
        for reason in reasons {
            all.add(*reason);
        }
        all.most_telling()
    }

    #[test]
    fn reason_of_several_rules_is_that_of_latest_check() {
        use AttestationError::{
            BadSignature, ClaimsMismatch, KeySetUnavailable, UnknownIssuer, UnknownKey, WrongAlgorithm,
        };
        assert_eq!(of(&[]), UnknownIssuer);
        assert_eq!(of(&[UnknownKey, ClaimsMismatch]), ClaimsMismatch);
        assert_eq!(of(&[ClaimsMismatch, UnknownKey]), ClaimsMismatch);
        for (others, expected) in [
            (&[][..], KeySetUnavailable),
            (&[UnknownKey], KeySetUnavailable),
            (&[ClaimsMismatch], KeySetUnavailable),
            (&[BadSignature, ClaimsMismatch], KeySetUnavailable),
            (&[BadSignature], BadSignature),
            (&[UnknownKey, WrongAlgorithm], WrongAlgorithm),
        ] {
            for place in 0..=others.len() {
                let mut reasons = others.to_vec();
                reasons.insert(place, KeySetUnavailable);
                assert_eq!(of(&reasons), expected, "{reasons:?}");
            }
        }
    }
}
