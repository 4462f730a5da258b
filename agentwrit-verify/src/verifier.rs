//! The verifier: from a token to [`Claims`], offline.
//!
//! 1. Nothing is read from a token before its header is checked, and no claim before its signature.
//! 2. `verify` does no I/O and takes no lock that a writer holds: keys and revocations are snapshots.
//! 3. A token that was verified before skips parsing and signatures only. Whether the keys behind it (the token's, its
//!    chain's) are still trusted, its times and its revocation are judged at every call.
//! 4. When it can't decide (no key set, a stale one) it says so: [`VerifyError::is_unavailable`].
//! 5. Leeway applies to `nbf` and `iat`, never to `exp`.
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
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    builder::{VerifierBuilder, WantsIssuer},
    cache::{TokenCache, Verified},
    claims::{ClaimSet, Claims},
    clock::{Clock, UnixTime},
    delegation,
    error::VerifyError,
    jws::shorten,
    keys::KeySet,
    revocation::{Marks, RevocationList},
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
    pub(crate) audiences: Vec<Box<str>>,
    pub(crate) keys: TrustedKeys,
    pub(crate) revocations: Option<RevocationList>,
    pub(crate) leeway: Duration,
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) cache: TokenCache,
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
        let rules = self.rules.as_ref();
        let in_force = rules.keys.current(|| rules.clock.monotonic())?;
        let keys = in_force.key_set().ok_or(VerifyError::KeysUnavailable)?;
        let now = rules.clock.now();
        if let Some(seen) = rules.cache.find(token).filter(|seen| seen.stands_with(keys)) {
            if let Err(error) = rules.judge_now(&seen, now) {
                rules.cache.forget(token);
                return Err(error);
            }
            return Ok(Arc::clone(&seen.claims));
        }
        let verified = Arc::new(rules.verify_anew(token, keys)?);
        rules.judge_now(&verified, now)?;
        let claims = Arc::clone(&verified.claims);
        rules.cache.keep(token, verified);
        Ok(claims)
    }

    /// The authority whose tokens are accepted.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.rules.issuer
    }

    /// Whether a key set is in force, so that tokens can be judged.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.rules.keys.current(|| self.rules.clock.monotonic()).is_ok()
    }

    /// How many verified tokens are remembered.
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.rules.cache.len()
    }
}

impl Rules {
    /// The checks whose outcome never changes for one token and one key set.
    fn verify_anew(&self, token: &str, keys: &KeySet) -> Result<Verified, VerifyError> {
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
        Ok(Verified {
            marks: OnceLock::new(),
            claims: Arc::new(Claims::verified(claims)),
            signed_by: key.clone(),
            names_key: unverified.key_id().is_some(),
            chain_signed_by: chain_keys.into_iter().cloned().collect(),
        })
    }

    fn check_issuer(&self, claims: &ClaimSet) -> Result<(), VerifyError> {
        if *claims.iss == *self.issuer {
            return Ok(());
        }
        Err(VerifyError::WrongIssuer { found: shorten(&claims.iss) })
    }

    /// A verifier that names audiences wants one of them in the token (RFC 7519 §4.1.3).
    fn check_audience(&self, claims: &ClaimSet) -> Result<(), VerifyError> {
        let meant_for_us = || claims.aud.iter().any(|audience| self.audiences.iter().any(|ours| **ours == **audience));
        if self.audiences.is_empty() || meant_for_us() { Ok(()) } else { Err(VerifyError::WrongAudience) }
    }

    /// The checks whose outcome changes with time, made at every call.
    fn judge_now(&self, verified: &Verified, now: UnixTime) -> Result<(), VerifyError> {
        let claims = verified.claims.as_claim_set();
        check_times(claims, now, self.leeway)?;
        // Most lists are empty most of the time: the marks are worked out when they are first needed.
        let list = self.revocations.as_ref().filter(|list| !list.is_empty());
        let dead = list.and_then(|list| list.judge(verified.marks.get_or_init(|| Marks::of(claims))));
        if let Some(level) = dead {
            let (subject, token_id) = (claims.sub.clone(), claims.jti);
            return Err(VerifyError::Revoked { level, subject, token_id });
        }
        Ok(())
    }
}

fn check_times(claims: &ClaimSet, now: UnixTime, leeway: Duration) -> Result<(), VerifyError> {
    let latest_start = now.saturating_add(leeway).seconds();
    let start = claims.nbf.max(claims.iat);
    if start > latest_start {
        return Err(VerifyError::NotYetValid { by: Duration::from_secs(start.saturating_sub(latest_start)) });
    }
    if now.seconds() >= claims.exp {
        let by = Duration::from_secs(now.seconds().saturating_sub(claims.exp));
        return Err(VerifyError::Expired { by, subject: claims.sub.clone(), token_id: claims.jti });
    }
    Ok(())
}
