//! Several issuers side by side.

use std::sync::Arc;

use crate::{
    claims::Claims,
    clock::Clock,
    error::VerifyError,
    feed_cursor::FeedCursor,
    jws::shorten,
    proof::{PresentedToken, ProofVerifier},
    token::UnverifiedToken,
    until_reached::UntilReached,
    verified_token::VerifiedToken,
    verifier::Verifier,
};

/// Verifiers of different issuers: the unverified `iss` of a token selects the verifier, which then checks all of it,
/// `iss` included. Clones share everything.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use agentwrit_verify::{KeySet, Verifier, VerifyError, Verifiers, testing::TestIssuer};
///
/// let one = TestIssuer::new();
/// let other = Verifier::builder()
///     .issuer("https://other.test")
///     .keys(TestIssuer::with_seed([8; 32]).key_set())
///     .without_revocations()
///     .build();
/// let verifiers = Verifiers::new([one.verifier(), other])?;
/// assert!(verifiers.verify(&one.token(&["read:data:*"])).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Verifiers(Arc<[Verifier]>);

impl Verifiers {
    /// Creates a set with one verifier for each issuer.
    ///
    /// # Errors
    ///
    /// [`VerifiersError`] when there is none, or two have the same issuer.
    pub fn new(verifiers: impl IntoIterator<Item = Verifier>) -> Result<Self, VerifiersError> {
        let mut kept: Vec<Verifier> = Vec::new();
        for verifier in verifiers {
            if kept.iter().any(|other| other.issuer() == verifier.issuer()) {
                return Err(VerifiersError::Duplicate { issuer: verifier.issuer().to_owned() });
            }
            kept.push(verifier);
        }
        if kept.is_empty() { Err(VerifiersError::Empty) } else { Ok(Self(kept.into())) }
    }

    /// Returns the clock of the first verifier.
    #[must_use]
    pub fn clock(&self) -> Option<impl Clock + use<>> {
        self.0.first().map(Verifier::clock)
    }

    /// Verifies a token with the verifier of its issuer.
    ///
    /// # Errors
    ///
    /// [`VerifyError::WrongIssuer`] when there is no verifier for its issuer, otherwise the error of that verifier.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.verifier_for(token)?.verify(token)
    }

    /// Verifies a token and its sender with the verifier of its issuer.
    ///
    /// # Errors
    ///
    /// [`VerifyError::WrongIssuer`] when there is no verifier for its issuer, otherwise the error of that verifier.
    pub fn verify_presented(
        &self,
        presented: &PresentedToken<'_>,
        proofs: &ProofVerifier,
    ) -> Result<Arc<Claims>, VerifyError> {
        self.verifier_for(presented.token)?.verify_presented(presented, proofs)
    }

    /// Verifies a token and its sender as [`verify_presented`](Self::verify_presented), and returns a handle to check it
    /// again later.
    ///
    /// # Errors
    ///
    /// As [`verify_presented`](Self::verify_presented).
    pub fn verify_presented_token(
        &self,
        presented: &PresentedToken<'_>,
        proofs: &ProofVerifier,
    ) -> Result<VerifiedToken, VerifyError> {
        self.verifier_for(presented.token)?.verify_presented_token(presented, proofs)
    }

    /// Verifies a token as [`verify`](Self::verify), and returns a handle to check it again later.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify).
    pub fn verify_token(&self, token: &str) -> Result<VerifiedToken, VerifyError> {
        self.verifier_for(token)?.verify_token(token)
    }

    /// Returns true when tokens of every issuer can be verified.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.iter().all(Verifier::is_ready)
    }

    /// Returns true when the revocation list of a verifier has reached the cursor.
    #[must_use]
    pub fn has_reached(&self, cursor: &FeedCursor) -> bool {
        self.iter().any(|verifier| verifier.has_reached(cursor))
    }

    /// Waits until [`has_reached`](Self::has_reached) returns true. Resolves to false when no list can reach the cursor:
    /// each is fresh and of another epoch. Otherwise it has no limit of time.
    pub fn until_reached(&self, cursor: FeedCursor) -> UntilReached {
        UntilReached::new(self.iter(), cursor)
    }

    /// The verifiers.
    pub fn iter(&self) -> std::slice::Iter<'_, Verifier> {
        self.0.iter()
    }

    fn verifier_for(&self, token: &str) -> Result<&Verifier, VerifyError> {
        if let [only] = self.0.as_ref() {
            return Ok(only);
        }
        // Only the verifier of its issuer caches a token: a cache hit saves parsing it.
        let copied = self.iter().find(|verifier| verifier.is_copied(token));
        if let Some(verifier) = copied.or_else(|| self.iter().find(|verifier| verifier.is_cached(token))) {
            return Ok(verifier);
        }
        let issuer = UnverifiedToken::decode(token)?.issuer()?;
        let responsible = self.iter().find(|verifier| verifier.issuer() == issuer);
        responsible.ok_or_else(|| VerifyError::WrongIssuer { found: shorten(&issuer) })
    }
}

impl From<Verifier> for Verifiers {
    fn from(only: Verifier) -> Self {
        Self(Arc::new([only]))
    }
}

impl<'a> IntoIterator for &'a Verifiers {
    type Item = &'a Verifier;
    type IntoIter = std::slice::Iter<'a, Verifier>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Reason why verifiers cannot be combined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifiersError {
    /// There is none.
    #[error("there is no verifier")]
    Empty,
    /// Two are of one issuer.
    #[error("two verifiers are of issuer `{issuer}`")]
    Duplicate {
        /// The issuer.
        issuer: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestIssuer;

    #[test]
    fn copy_of_thread_is_used_without_shared_cache() {
        let issuer = TestIssuer::new();
        let other = Verifier::builder().issuer("https://other.example").keys(issuer.key_set()).without_revocations();
        let verifiers = Verifiers::new([other.build(), issuer.verifier()]).unwrap();
        let token = issuer.token(&["a:b:c"]);
        assert!((0..4).all(|_| verifiers.verify(&token).is_ok()));
        let responsible = verifiers.verifier_for(&token).unwrap();
        assert!(responsible.is_copied(&token) && responsible.is_cached(&token));
        responsible.rules.cache.remove(&token);
        let before = responsible.status().cache_misses;
        assert!(verifiers.verify(&token).is_ok());
        assert_eq!(responsible.status().cache_misses, before);
    }
}
