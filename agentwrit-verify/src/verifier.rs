//! The verifier: from a token to [`Claims`], offline.
//!
//! 1. Nothing is read from a token before its header is checked, and no claim before its signature.
//! 2. `verify` does no I/O and takes no lock that a writer holds: keys and revocations are snapshots.
//! 3. A token that was verified before skips parsing and signatures only. Whether the keys behind it (the token's, its
//!    chain's) are still trusted, its times and its revocation are judged at every call.
//! 4. When it can't decide (no key set or revocation list, or a stale one) it says so: [`VerifyError::is_unavailable`].
//! 5. Leeway applies to `nbf` and `iat`, never to `exp`. A token whose `exp` the revocation feed has passed has expired,
//!    whatever the clock here says.
//! 6. A token that names an audience is only for who names it too (RFC 7519 §4.1.3).
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
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    builder::{Audience, VerifierBuilder, WantsIssuer},
    cache::{CachedToken, TokenCache},
    claims::{ClaimSet, Claims},
    clock::{Clock, UnixTime},
    delegation,
    error::VerifyError,
    jws::shorten,
    keys::KeySet,
    revocation::{Level, RevocationList, TokenRevocationKeys},
    staleness::{ClockReading, Freshness},
    status::{RevocationStatus, VerifierStatus},
    token::UnverifiedToken,
    trusted::TrustedKeys,
};

/// Checks tokens of one issuer. Clones are cheap and share the cache.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) rules: Arc<Rules>,
}

/// Everything that was decided when the verifier was built.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) issuer: Box<str>,
    pub(crate) audience: Audience,
    pub(crate) keys: TrustedKeys,
    pub(crate) revocations: Option<RevocationList>,
    pub(crate) leeway: Duration,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) cache: TokenCache,
    pub(crate) cache_misses: AtomicU64,
}

impl Verifier {
    /// Starts to build one: issuer, then keys, then revocations, then options.
    #[must_use]
    pub fn builder() -> VerifierBuilder<WantsIssuer> {
        VerifierBuilder::new()
    }

    /// Checks a token: form, key, signature, claims, issuer, audience, delegation chain, times and revocation.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] with the first check that failed. Tell whoever presented the token no more than *invalid*, or
    /// *unavailable* when [`VerifyError::is_unavailable`].
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, VerifyError> {
        self.verify_cached(token).map(|verified| Arc::clone(&verified.claims))
    }

    /// The token as verified now or before, every check passed at this moment.
    pub(crate) fn verify_cached(&self, token: &str) -> Result<Arc<CachedToken>, VerifyError> {
        let rules = self.rules.as_ref();
        let monotonic = LazyCell::new(|| rules.clock.monotonic());
        let in_force = rules.keys.current(|| *monotonic)?;
        let keys = in_force.key_set().ok_or(VerifyError::KeysUnavailable)?;
        let now = rules.clock.now();
        if let Some(seen) = rules.cache.get(token).filter(|seen| seen.is_trusted_by(keys)) {
            if let Err(error) = rules.check_current(&seen, now, || *monotonic) {
                if !error.is_unavailable() {
                    rules.cache.remove(token);
                }
                return Err(error);
            }
            return Ok(seen);
        }
        rules.cache_misses.fetch_add(1, Ordering::Relaxed);
        let verified = Arc::new(rules.verify_uncached(token, keys)?);
        rules.check_current(&verified, now, || *monotonic)?;
        rules.cache.insert(token, Arc::clone(&verified));
        Ok(verified)
    }

    /// For forensics: what the verdict on a token would have been at another moment, as far as can be told now.
    ///
    /// Form, signature, chain, issuer and audience are judged by the keys in force now, however old their set. The times
    /// are judged at `at`. A revocation counts when its `revoked_at` is `at` or before (whole seconds). Only entries
    /// that are in the list now can be seen: those whose tokens have all expired are gone from it, and of several
    /// revocations of one target the list knows the last one only. The audit trail knows them all.
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
    /// [`VerifyError`] with the first check that failed.
    pub fn verify_at(&self, token: &str, at: UnixTime) -> Result<Claims, VerifyError> {
        let rules = self.rules.as_ref();
        let keys = rules.keys.key_set().ok_or(VerifyError::KeysUnavailable)?;
        let verified = rules.verify_uncached(token, &keys)?;
        let claims = verified.claims.as_claim_set();
        check_times(claims, at, rules.leeway)?;
        let dead =
            rules.revocations.as_ref().and_then(|list| list.find_revocation(|| verified.revocation_keys(), Some(at)));
        match dead {
            Some(level) => Err(revoked(claims, level)),
            None => Ok(Arc::unwrap_or_clone(verified.claims)),
        }
    }

    /// The authority whose tokens are accepted.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.rules.issuer
    }

    /// Whether tokens can be judged: keys and revocations are there, and recent enough.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready().is_ok()
    }

    /// Whether tokens can be judged, and if not, why not.
    ///
    /// # Errors
    ///
    /// The error that every token would be answered with: one that [is unavailable](VerifyError::is_unavailable).
    pub fn ready(&self) -> Result<(), VerifyError> {
        let rules = self.rules.as_ref();
        let now = ClockReading::of(&*rules.clock);
        rules.keys.current(|| now.monotonic)?;
        match rules.revocations.as_ref().and_then(RevocationList::freshness) {
            Some(freshness) => freshness.check(now.wall, || now.monotonic),
            None => Ok(()),
        }
    }

    /// How it is doing, for health endpoints and metrics.
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

    /// Whether the token is among those verified before.
    pub(crate) fn is_cached(&self, token: &str) -> bool {
        self.rules.cache.get(token).is_some()
    }

    /// How many verified tokens are remembered.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.rules.cache.len()
    }
}

impl Rules {
    /// The checks whose outcome never changes for one token and one key set.
    fn verify_uncached(&self, token: &str, keys: &KeySet) -> Result<CachedToken, VerifyError> {
        let unverified = UnverifiedToken::decode_known(token, keys)?;
        let Some(key) = keys.select(unverified.key_id()) else {
            self.keys.report_unknown_key();
            return Err(VerifyError::UnknownKey { kid: unverified.key_id().map(|kid| shorten(kid.as_str())) });
        };
        unverified.jws().check_signature(key)?;
        let claims = unverified.claims()?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        let chain_keys = delegation::verify_chain(&claims, keys).map_err(VerifyError::Chain)?;
        Ok(CachedToken {
            revocation_keys: OnceLock::new(),
            claims: Arc::new(Claims::verified(claims)),
            signed_by: key.clone(),
            names_key: unverified.key_id().is_some(),
            chain_signed_by: chain_keys.into_iter().cloned().collect(),
        })
    }

    pub(crate) fn check_issuer(&self, claims: &ClaimSet) -> Result<(), VerifyError> {
        if *claims.iss == *self.issuer {
            return Ok(());
        }
        Err(VerifyError::WrongIssuer { found: shorten(&claims.iss) })
    }

    /// Whoever names audiences wants one of them in the token; whoever names none is meant by no token that names one
    /// (RFC 7519 §4.1.3).
    pub(crate) fn check_audience(&self, claims: &ClaimSet) -> Result<(), VerifyError> {
        let meant_for_us = match &self.audience {
            Audience::Any => true,
            Audience::OneOf(ours) if ours.is_empty() => claims.aud.is_empty(),
            Audience::OneOf(ours) => claims.aud.iter().any(|audience| ours.iter().any(|ours| **ours == **audience)),
        };
        if meant_for_us { Ok(()) } else { Err(VerifyError::WrongAudience) }
    }

    /// The checks whose outcome changes with time, made at every call.
    pub(crate) fn check_current(
        &self,
        verified: &CachedToken,
        now: UnixTime,
        monotonic: impl FnOnce() -> Instant,
    ) -> Result<(), VerifyError> {
        let claims = verified.claims.as_claim_set();
        check_times(claims, now, self.leeway)?;
        self.check_revocation(claims, || verified.revocation_keys(), now, monotonic)
    }

    /// Whether nobody withdrew the token, by a list that is recent enough.
    pub(crate) fn check_revocation<'m>(
        &self,
        claims: &ClaimSet,
        revocation_keys: impl FnOnce() -> &'m TokenRevocationKeys,
        now: UnixTime,
        monotonic: impl FnOnce() -> Instant,
    ) -> Result<(), VerifyError> {
        let Some(list) = &self.revocations else { return Ok(()) };
        // Before the list is read: what vouches for it was written after it.
        if let Some(freshness) = list.freshness() {
            freshness.check(now, monotonic)?;
        }
        if let Some(level) = list.find_revocation(revocation_keys, None) {
            return Err(revoked(claims, level));
        }
        // After the list was read: it drops entries only when it has said that it is past their time.
        match list.freshness().map(Freshness::true_at) {
            Some(reached) if reached.seconds() >= claims.exp => Err(expired(claims, reached)),
            Some(_) | None => Ok(()),
        }
    }
}

impl CachedToken {
    /// Every key under which it could be revoked, worked out when first needed.
    fn revocation_keys(&self) -> &TokenRevocationKeys {
        self.revocation_keys.get_or_init(|| TokenRevocationKeys::of(self.claims.as_claim_set()))
    }
}

pub(crate) fn check_times(claims: &ClaimSet, now: UnixTime, leeway: Duration) -> Result<(), VerifyError> {
    let latest_start = now.saturating_add(leeway).seconds();
    let start = claims.nbf.max(claims.iat);
    if start > latest_start {
        return Err(VerifyError::NotYetValid { by: Duration::from_secs(start.saturating_sub(latest_start)) });
    }
    if now.seconds() >= claims.exp { Err(expired(claims, now)) } else { Ok(()) }
}

fn expired(claims: &ClaimSet, now: UnixTime) -> VerifyError {
    let by = Duration::from_secs(now.seconds().saturating_sub(claims.exp));
    VerifyError::Expired { by, subject: claims.sub.clone(), token_id: claims.jti }
}

fn revoked(claims: &ClaimSet, level: Level) -> VerifyError {
    VerifyError::Revoked { level, subject: claims.sub.clone(), token_id: claims.jti }
}
