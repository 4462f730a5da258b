//! A verified token that can be checked again, without the token's text.

use std::{cell::LazyCell, fmt, sync::Arc, time::Duration};

use crate::{
    admission::Admission,
    cache::CachedToken,
    claims::Claims,
    error::VerifyError,
    jws::shorten,
    keys::KeySet,
    proof::{AcceptedProof, PresentedToken, ProofVerifier},
    recent_tokens::RulesHandle,
    revocation::RevocationList,
    verifier::Verifier,
};

/// A verified token that can be checked again at any later time: for work that outlives the request with the token,
/// such as an event stream or a WebSocket. It holds the claims and the verifier's rules, not the token. Where requests [are
/// counted](crate::RevocationList::count_requests), the request has not ended while it or a clone exists.
///
/// ```
/// use agentwrit_verify::{Level, VerifyError, testing::TestIssuer};
///
/// let issuer = TestIssuer::new();
/// let token = issuer.verifier().verify_token(&issuer.token(&["read:data:*"]))?;
/// assert_eq!(token.recheck(), Ok(()));
/// issuer.revoke(Level::Token, &token.claims().token_id().to_string());
/// assert!(matches!(token.recheck(), Err(VerifyError::Revoked { .. })));
/// # Ok::<(), VerifyError>(())
/// ```
#[derive(Clone)]
pub struct VerifiedToken {
    rules: Arc<RulesHandle>,
    verified: Arc<CachedToken>,
    admission: Option<Admission>,
    accepted: Option<AcceptedProof>,
}

impl VerifiedToken {
    /// Returns the guard of the request, for work that goes on without the token, such as a response's body: `None`
    /// unless requests [are counted](crate::RevocationList::count_requests).
    #[must_use]
    pub fn admission(&self) -> Option<&Admission> {
        self.admission.as_ref()
    }

    /// Returns the proof that was accepted with a sender-constrained token: `None` where its key was proved to TLS.
    #[must_use]
    pub fn accepted_proof(&self) -> Option<&AcceptedProof> {
        self.accepted.as_ref().filter(|proof| proof.is_of(self.claims().token_id()))
    }

    /// Returns the claims.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.verified.claims
    }

    /// Checks again everything that changes with time: whether the keys that signed the token (and its chain) are
    /// trusted, its times, and its revocation. As cheap as the verification of a cached token: no I/O, no signature.
    ///
    /// # Errors
    ///
    /// The error of [`Verifier::verify`] for the token now: expired, revoked, signed by a key that was removed
    /// ([`VerifyError::UnknownKey`]), or [unavailable](VerifyError::is_unavailable).
    pub fn recheck(&self) -> Result<(), VerifyError> {
        let rules = self.rules.0.as_ref();
        let monotonic = LazyCell::new(|| rules.clock.monotonic());
        let in_force = rules.keys.current(|| *monotonic)?;
        let keys = in_force.key_set().ok_or(VerifyError::KeysUnavailable)?;
        if !self.verified.is_trusted_by(keys) {
            return Err(VerifyError::UnknownKey { kid: Some(shorten(self.verified.signed_by.id().as_str())) });
        }
        rules.check_current(&self.verified, rules.clock.now(), || *monotonic)
    }

    /// Returns true when these keys would verify the token and its delegation chain again.
    #[must_use]
    pub fn is_trusted_by(&self, keys: &KeySet) -> bool {
        self.verified.is_trusted_by(keys)
    }

    /// The time until it expires, by the verifier's clock; zero once it has.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.claims().expires_at().saturating_since(self.rules.0.clock.now())
    }
}

impl<'a> PresentedToken<'a> {
    /// Names the token that an outer layer verified for this very request. Its proof is no replay for the
    /// [`ProofVerifier`] that accepted it then; every other check is made again.
    #[must_use]
    pub fn verified_before(mut self, verified: &'a VerifiedToken) -> Self {
        self.accepted = verified.accepted.as_ref();
        self
    }
}

impl Verifier {
    /// Verifies a token as [`verify`](Self::verify), and returns a handle to check it again later.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_token(&self, token: &str) -> Result<VerifiedToken, VerifyError> {
        self.admit(|| self.verify_bearer(token, |verified| (Arc::clone(verified), None)))
    }

    /// Verifies a token and, if it is sender-constrained, that its key made the request (RFC 9449 §7): see
    /// [`proof`](crate::proof).
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify); [`VerifyError::Proof`], [`VerifyError::ProofRequired`] for a sender-constrained token
    /// with the scheme `Bearer`, [`VerifyError::NotSenderConstrained`] for another one with the scheme `DPoP` or where a
    /// proof is required.
    pub fn verify_presented(
        &self,
        presented: &PresentedToken<'_>,
        proofs: &ProofVerifier,
    ) -> Result<Arc<Claims>, VerifyError> {
        self.verify_sender(presented, proofs).map(|(verified, _)| Arc::clone(&verified.claims))
    }

    fn verify_sender(
        &self,
        presented: &PresentedToken<'_>,
        proofs: &ProofVerifier,
    ) -> Result<(Arc<CachedToken>, Option<AcceptedProof>), VerifyError> {
        let verified = self.verify_cached(presented.token, Arc::clone)?;
        let accepted = proofs.check_sender(presented, &verified)?;
        Ok((verified, accepted))
    }

    /// Verifies a token as [`verify_presented`](Self::verify_presented), and returns a handle to check it again later.
    ///
    /// # Errors
    ///
    /// As [`verify_presented`](Self::verify_presented).
    pub fn verify_presented_token(
        &self,
        presented: &PresentedToken<'_>,
        proofs: &ProofVerifier,
    ) -> Result<VerifiedToken, VerifyError> {
        self.admit(|| self.verify_sender(presented, proofs))
    }

    fn admit(
        &self,
        verify: impl FnOnce() -> Result<(Arc<CachedToken>, Option<AcceptedProof>), VerifyError>,
    ) -> Result<VerifiedToken, VerifyError> {
        // Before the check begins.
        let admission = self.rules.revocations.as_ref().and_then(RevocationList::admit);
        let (verified, accepted) = verify()?;
        Ok(VerifiedToken { rules: self.recent.rules(&self.rules), verified, admission, accepted })
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken").field("claims", self.claims()).finish_non_exhaustive()
    }
}
