//! Rules of a verifier, and its checks of a token.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::{Duration, Instant},
};

use crate::{
    cache::{CachedToken, TokenCache},
    claims::{ClaimSet, Claims},
    clock::{Clock, UnixTime},
    delegation,
    error::VerifyError,
    jws::shorten,
    keys::{KeyId, KeySet, PublicKey},
    revocation::{Level, RevocationList, TokenRevocationKeys},
    staleness::Freshness,
    token::UnverifiedToken,
    trusted::TrustedKeys,
};

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

/// Audiences whose tokens are accepted.
#[derive(Clone, Debug)]
pub(crate) enum Audience {
    /// Accepts every token, with or without `aud`.
    Any,
    /// Accepts tokens for one of these; if empty, only tokens without `aud`.
    OneOf(Vec<Box<str>>),
}

impl Rules {
    /// Performs the checks whose result never changes for one token and one key set.
    pub(crate) fn verify_uncached(&self, token: &str, keys: &KeySet) -> Result<CachedToken, VerifyError> {
        let unverified = UnverifiedToken::decode_known(token, keys)?;
        let Some(key) = keys.select(unverified.key_id()) else {
            self.keys.report_unknown_key();
            return Err(self.unknown_key(unverified.key_id()));
        };
        unverified.jws().check_signature(key)?;
        let claims = unverified.claims()?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        let chain_keys = delegation::verify_chain_of(&claims, keys, Some(key)).map_err(VerifyError::Chain)?;
        Ok(CachedToken {
            revocation_keys: OnceLock::new(),
            sender: OnceLock::new(),
            claims: Arc::new(Claims::verified(claims)),
            signed_by: key.without_table(),
            names_key: unverified.key_id().is_some(),
            chain_signed_by: chain_keys.into_iter().map(PublicKey::without_table).collect(),
        })
    }

    /// Returns the error for a token of a key that is not in force: the token's fault only when the broker is known not
    /// to publish the key.
    fn unknown_key(&self, kid: Option<&KeyId>) -> VerifyError {
        let shown = kid.map(|kid| shorten(kid.as_str()));
        let publishes = kid.and_then(|kid| self.keys.is_announced(kid));
        // The announcement is as old as the list.
        let outdated = || {
            let freshness = self.revocations.as_ref()?.freshness()?;
            freshness.check(self.clock.now(), || self.clock.monotonic()).err()
        };
        match (publishes, shown) {
            (Some(true), Some(kid)) => VerifyError::KeyNotFetched { kid },
            (Some(_) | None, kid) => outdated().unwrap_or(VerifyError::UnknownKey { kid }),
        }
    }

    pub(crate) fn check_issuer(&self, claims: &ClaimSet) -> Result<(), VerifyError> {
        if *claims.iss == *self.issuer {
            return Ok(());
        }
        Err(VerifyError::WrongIssuer { found: shorten(&claims.iss) })
    }

    /// Requires one of the verifier's audiences; a verifier without audiences rejects a token with any (RFC 7519
    /// §4.1.3).
    pub(crate) fn check_audience(&self, claims: &ClaimSet) -> Result<(), VerifyError> {
        let meant_for_us = match &self.audience {
            Audience::Any => true,
            Audience::OneOf(ours) if ours.is_empty() => claims.aud.is_empty(),
            Audience::OneOf(ours) => claims.aud.iter().any(|audience| ours.iter().any(|ours| **ours == **audience)),
        };
        if meant_for_us { Ok(()) } else { Err(VerifyError::WrongAudience) }
    }

    /// Performs the checks whose result changes with time, at every call.
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

    /// Checks that the token is not revoked, by a list that is fresh.
    pub(crate) fn check_revocation<'m>(
        &self,
        claims: &ClaimSet,
        revocation_keys: impl FnOnce() -> &'m TokenRevocationKeys,
        now: UnixTime,
        monotonic: impl FnOnce() -> Instant,
    ) -> Result<(), VerifyError> {
        let Some(list) = &self.revocations else { return Ok(()) };
        // Checked before the list is read: a writer confirms freshness after it has written the entries.
        if let Some(freshness) = list.freshness() {
            freshness.check(now, monotonic)?;
        }
        if let Some(level) = list.find_revocation(revocation_keys, None) {
            return Err(revoked(claims, level));
        }
        // Checked after the list was read: a writer removes entries only after it has published this time.
        match list.freshness().map(Freshness::true_at) {
            Some(reached) if reached.seconds() >= claims.exp => Err(expired(claims, reached)),
            Some(_) | None => Ok(()),
        }
    }
}

impl CachedToken {
    /// Every key under which it could be revoked, worked out when first needed.
    pub(crate) fn revocation_keys(&self) -> &TokenRevocationKeys {
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

pub(crate) fn revoked(claims: &ClaimSet, level: Level) -> VerifyError {
    VerifyError::Revoked { level, subject: claims.sub.clone(), token_id: claims.jti }
}
