//! Verifier: from a token to [`Claims`], offline.
//!
//! 1. The header is checked before anything else of a token is parsed, and the signature before any claim.
//! 2. `verify` does no I/O and takes no lock that a writer holds: keys and revocations are snapshots.
//! 3. A cached token skips parsing and signatures only. The trust in its keys (the token's, its chain's), its times and
//!    its revocation are checked at every call.
//! 4. Without a key set or revocation list, or with a stale one, the error is one that [is
//!    unavailable](VerifyError::is_unavailable).
//! 5. Leeway applies to `nbf` and `iat`, never to `exp`. A token whose `exp` the revocation feed has passed has
//!    expired, whatever this clock shows.
//! 6. A token with audiences is accepted only by a verifier with one of them (RFC 7519 §4.1.3).
//! 7. A sender-constrained token (`cnf`) is rejected unless the sender's proof is checked too (RFC 9449 §7.2).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use agentwrit_verify::{KeySet, Scope, Verifier};
//!
//! # let jwks = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! let verifier = Verifier::builder()
//!     .issuer("https://agentwrit.local")
//!     .keys(KeySet::from_jwks(jwks)?)
//!     .without_revocations()
//!     .build();
//! assert!(verifier.verify("not.a.token").is_err());
//! # Ok(())
//! # }
//! ```

use std::{
    cell::LazyCell,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    cache::CachedToken,
    claims::{ClaimSet, Claims},
    clock::{Clock, UnixTime},
    error::VerifyError,
    feed_cursor::FeedCursor,
    recent_tokens::RecentTokens,
    revocation::RevocationList,
    rules::{Rules, check_times, revoked},
    staleness::{ClockReading, Freshness},
    status::{RevocationStatus, VerifierStatus},
};

/// Checks tokens of one issuer. Clones are cheap and share the cache.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) rules: Arc<Rules>,
    pub(crate) recent: Arc<RecentTokens>,
}

/// The clock of a verifier.
#[derive(Debug)]
struct VerifierClock(Arc<Rules>);

impl Clock for VerifierClock {
    fn now(&self) -> UnixTime {
        self.0.clock.now()
    }

    fn monotonic(&self) -> std::time::Instant {
        self.0.clock.monotonic()
    }
}

impl Verifier {
    /// Returns the clock by which tokens are verified, for a [`ProofVerifier`](crate::proof::ProofVerifier).
    #[must_use]
    pub fn clock(&self) -> impl Clock + use<> {
        VerifierClock(Arc::clone(&self.rules))
    }

    /// Verifies a bearer token: format, key, signature, claims, issuer, audience, delegation chain, times and revocation.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with the first check that failed. Tell the client only *invalid*, or *unavailable* when
    /// [`VerifyError::is_unavailable`]. [`VerifyError::ProofRequired`] for a sender-constrained token, always:
    /// see [`verify_presented`](Self::verify_presented).
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.verify_bearer(token, |verified| Arc::clone(&verified.claims))
    }

    /// Verifies a token like [`verify`](Self::verify), and accepts a sender-constrained one without a proof: for the
    /// introspection of tokens (RFC 7662), never for access. The result is a [`ClaimSet`], which grants nothing.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), except [`VerifyError::ProofRequired`].
    pub fn verify_without_proof(&self, token: &str) -> Result<ClaimSet, VerifyError> {
        self.verify_cached(token, |verified| verified.claims.as_claim_set().clone())
    }

    /// Verifies a token as [`verify_cached`](Self::verify_cached), and rejects one that is sender-constrained.
    pub(crate) fn verify_bearer<T>(
        &self,
        token: &str,
        take: impl FnOnce(&Arc<CachedToken>) -> T,
    ) -> Result<T, VerifyError> {
        self.verify_cached(token, |verified| {
            if verified.claims.sender_constraint().is_none() {
                return Ok(take(verified));
            }
            let (subject, token_id) = verified.claims.name();
            Err(VerifyError::ProofRequired { subject, token_id })
        })?
    }

    /// Takes the token as verified now or before, every check passed at this moment, except the sender's proof.
    pub(crate) fn verify_cached<T>(
        &self,
        token: &str,
        take: impl FnOnce(&Arc<CachedToken>) -> T,
    ) -> Result<T, VerifyError> {
        let rules = self.rules.as_ref();
        let monotonic = LazyCell::new(|| rules.clock.monotonic());
        let in_force = rules.keys.current(|| *monotonic)?;
        let keys = in_force.key_set().ok_or(VerifyError::KeysUnavailable)?;
        let now = rules.clock.now();
        let mut slot = self.recent.slot(token);
        if let Some(copy) = slot.as_mut().and_then(|slot| slot.find(token, keys)) {
            let Err(error) = rules.check_current(copy, now, || *monotonic) else { return Ok(take(copy)) };
            if !error.is_unavailable() {
                rules.cache.remove(token);
                if let Some(slot) = &mut slot {
                    slot.remove();
                }
            }
            return Err(error);
        }
        let seen = rules.cache.get(token);
        let is_outdated = seen.as_ref().is_some_and(|seen| !seen.is_trusted_by(keys));
        if is_outdated {
            // So that the tokens of a withdrawn key do not keep their places.
            rules.cache.remove(token);
        }
        if let Some(seen) = seen.filter(|_| !is_outdated) {
            if let Err(error) = rules.check_current(&seen, now, || *monotonic) {
                if !error.is_unavailable() {
                    rules.cache.remove(token);
                }
                return Err(error);
            }
            if let Some(slot) = &mut slot {
                slot.count(token, &seen);
            }
            return Ok(take(&seen));
        }
        drop(slot);
        rules.cache_misses.fetch_add(1, Ordering::Relaxed);
        let verified = Arc::new(rules.verify_uncached(token, keys)?);
        rules.check_current(&verified, now, || *monotonic)?;
        rules.cache.insert(token, Arc::clone(&verified));
        Ok(take(&verified))
    }

    /// Checks a token as of another time, for forensics, as far as the present state allows. The result is a
    /// [`ClaimSet`], which grants nothing: only [`verify`](Self::verify) returns [`Claims`].
    ///
    /// Format, signature, chain, issuer and audience are checked with the keys in force now, however old their set. The
    /// times are checked at `at`. A revocation counts when its `revoked_at` is `at` or earlier (whole seconds). Only
    /// entries in the list now count, however old the list: those whose tokens have all expired were removed, and of
    /// several revocations of one target the list holds the last. The audit trail holds all of them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use agentwrit_verify::{Clock, VerifyError, testing::TestIssuer};
    ///
    /// let issuer = TestIssuer::new();
    /// let (token, issued_at) = (issuer.token(&["read:data:*"]), issuer.clock().now());
    /// issuer.clock().advance(Duration::from_secs(3600));
    /// assert!(matches!(issuer.verifier().verify(&token), Err(VerifyError::Expired { .. })));
    /// assert!(issuer.verifier().verify_at(&token, issued_at.saturating_add(Duration::from_secs(60))).is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with the first check that failed; [`RevocationsUnavailable`](VerifyError::RevocationsUnavailable)
    /// before the first list.
    pub fn verify_at(&self, token: &str, at: UnixTime) -> Result<ClaimSet, VerifyError> {
        let rules = self.rules.as_ref();
        let keys = rules.keys.key_set().ok_or(VerifyError::KeysUnavailable)?;
        if rules.revocations.as_ref().and_then(RevocationList::freshness).is_some_and(|list| !list.is_there()) {
            return Err(VerifyError::RevocationsUnavailable);
        }
        let verified = rules.verify_uncached(token, &keys)?;
        let claims = verified.claims.as_claim_set();
        check_times(claims, at, rules.leeway)?;
        let revoked_at_level =
            rules.revocations.as_ref().and_then(|list| list.find_revocation(|| verified.revocation_keys(), Some(at)));
        match revoked_at_level {
            Some(level) => Err(revoked(claims, level)),
            None => Ok(Arc::unwrap_or_clone(verified.claims).into_claim_set()),
        }
    }

    /// Returns the issuer whose tokens are accepted.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.rules.issuer
    }

    /// Returns the revocation list that tokens are checked against; `None` without revocations.
    #[must_use]
    pub fn revocations(&self) -> Option<&RevocationList> {
        self.rules.revocations.as_ref()
    }

    /// Returns true when tokens can be verified: keys and revocations are available and fresh.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready().is_ok()
    }

    /// Checks that tokens can be verified.
    ///
    /// # Errors
    ///
    /// The error that every verification returns: one that [is unavailable](VerifyError::is_unavailable).
    pub fn ready(&self) -> Result<(), VerifyError> {
        let rules = self.rules.as_ref();
        let now = ClockReading::of(&*rules.clock);
        rules.keys.current(|| now.monotonic)?;
        match rules.revocations.as_ref().and_then(RevocationList::freshness) {
            Some(freshness) => freshness.check(now.wall, || now.monotonic),
            None => Ok(()),
        }
    }

    /// Returns the status, for health endpoints and metrics.
    #[must_use]
    pub fn status(&self) -> VerifierStatus {
        let rules = self.rules.as_ref();
        let now = ClockReading::of(&*rules.clock);
        let ready = self.ready();
        VerifierStatus {
            ready: ready.is_ok(),
            reason: ready.err().map(|error| error.reason()),
            issuer: rules.issuer.to_string(),
            keys: rules.keys.key_set().map_or(0, |keys| keys.len()),
            key_age: rules.keys.age(now.monotonic),
            revocations: rules.revocations.as_ref().map(|list| RevocationStatus::of(list, now)),
            cached_tokens: rules.cache.len(),
            cache_misses: rules.cache_misses.load(Ordering::Relaxed),
        }
    }

    /// Returns true when the revocation list has reached the cursor.
    pub(crate) fn has_reached(&self, cursor: &FeedCursor) -> bool {
        self.revocations().is_some_and(|list| list.has_reached(cursor))
    }

    /// Returns false when the revocation list can't reach the cursor: it is fresh and of another epoch, or there is none.
    pub(crate) fn may_reach(&self, cursor: &FeedCursor) -> bool {
        let may_reach = |freshness: &Freshness| freshness.may_reach(cursor, ClockReading::of(&*self.rules.clock));
        self.revocations().is_some_and(|list| list.freshness().is_none_or(may_reach))
    }

    /// Returns true when the token is in the cache.
    pub(crate) fn is_cached(&self, token: &str) -> bool {
        self.rules.cache.contains(token)
    }

    /// Returns whether the calling thread has a copy of the token: asking writes to no memory of other threads.
    pub(crate) fn is_copied(&self, token: &str) -> bool {
        self.recent.contains(token)
    }

    /// Returns the number of cached tokens.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.rules.cache.len()
    }
}
