//! Builder of a [`Verifier`]: required decisions come in order, and a builder that lacks one does not compile.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use crate::{
    cache::TokenCache,
    clock::{Clock, SystemClock},
    recent_tokens::{RecentCapacity, RecentTokens},
    revocation::RevocationList,
    rules::{Audience, Rules},
    trusted::TrustedKeys,
    verifier::Verifier,
};

/// Builds a [`Verifier`]. `Stage` is the next required decision.
#[derive(Debug)]
pub struct VerifierBuilder<Stage> {
    stage: Stage,
}

/// Next: [`VerifierBuilder::issuer`].
#[derive(Debug)]
pub struct WantsIssuer(());

/// Next: [`VerifierBuilder::keys`].
#[derive(Debug)]
pub struct WantsKeys {
    issuer: Box<str>,
}

/// Next: [`VerifierBuilder::revocations`] or [`VerifierBuilder::without_revocations`].
#[derive(Debug)]
pub struct WantsRevocations {
    issuer: Box<str>,
    keys: TrustedKeys,
}

/// Every decision is made; what follows has defaults.
pub struct WantsOptions {
    issuer: Box<str>,
    keys: TrustedKeys,
    revocations: Option<RevocationList>,
    audience: Audience,
    leeway: Duration,
    cache_memory: u64,
    clock: Box<dyn Clock>,
}

impl Verifier {
    /// Starts to build one: issuer, then keys, then revocations, then options.
    #[must_use]
    pub fn builder() -> VerifierBuilder<WantsIssuer> {
        VerifierBuilder { stage: WantsIssuer(()) }
    }
}

impl VerifierBuilder<WantsIssuer> {
    /// Sets the issuer whose tokens are accepted: the `iss` claim, exactly.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<String>) -> VerifierBuilder<WantsKeys> {
        let WantsIssuer(()) = self.stage;
        VerifierBuilder { stage: WantsKeys { issuer: issuer.into().into() } }
    }
}

impl VerifierBuilder<WantsKeys> {
    /// The keys that tokens are trusted by: a [`KeySet`](crate::KeySet) or a shared [`TrustedKeys`].
    #[must_use]
    pub fn keys(self, keys: impl Into<TrustedKeys>) -> VerifierBuilder<WantsRevocations> {
        VerifierBuilder { stage: WantsRevocations { issuer: self.stage.issuer, keys: keys.into() } }
    }
}

impl VerifierBuilder<WantsRevocations> {
    /// Checks tokens against this revocation list, whose own bound on staleness applies.
    ///
    /// # Panics
    ///
    /// When the list is of another issuer: see [`try_revocations`](Self::try_revocations).
    #[must_use]
    #[track_caller]
    pub fn revocations(self, list: RevocationList) -> VerifierBuilder<WantsOptions> {
        match self.try_revocations(list) {
            Ok(builder) => builder,
            #[expect(clippy::panic, reason = "documented; `try_revocations` is the fallible form")]
            Err(error) => panic!("{error}"),
        }
    }

    /// Checks tokens against this revocation list, whose own bound on staleness applies.
    ///
    /// # Errors
    ///
    /// [`IssuerMismatchError`] when the list is of another issuer: its entries would never match.
    pub fn try_revocations(self, list: RevocationList) -> Result<VerifierBuilder<WantsOptions>, IssuerMismatchError> {
        if list.issuer() != &*self.stage.issuer {
            let (list, verifier) = (list.issuer().to_owned(), self.stage.issuer.into());
            return Err(IssuerMismatchError { list, verifier });
        }
        Ok(self.options(Some(list)))
    }

    /// The explicit weaker choice: a token stays valid until it expires, whatever was revoked.
    #[must_use]
    pub fn without_revocations(self) -> VerifierBuilder<WantsOptions> {
        self.options(None)
    }

    fn options(self, revocations: Option<RevocationList>) -> VerifierBuilder<WantsOptions> {
        let WantsRevocations { issuer, keys } = self.stage;
        let stage = WantsOptions {
            issuer,
            keys,
            revocations,
            audience: Audience::OneOf(Vec::new()),
            leeway: VerifierBuilder::DEFAULT_LEEWAY,
            cache_memory: VerifierBuilder::DEFAULT_CACHE_MEMORY,
            clock: Box::new(SystemClock),
        };
        VerifierBuilder { stage }
    }
}

impl VerifierBuilder<WantsOptions> {
    /// Default of [`leeway`](Self::leeway).
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
    /// The bytes that verified tokens may take, unless set otherwise: some 5,000 typical tokens.
    pub const DEFAULT_CACHE_MEMORY: u64 = 16 * 1024 * 1024;

    /// Accepts only tokens for this audience; call it again to add another one. Without any, only tokens without `aud`
    /// are accepted: a token for a named audience must be rejected by a service that does not identify with it (RFC
    /// 7519 §4.1.3).
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        if let Audience::OneOf(audiences) = &mut self.stage.audience {
            audiences.push(audience.into().into());
        }
        self
    }

    /// The explicit weaker choice: tokens are accepted whomever they are meant for. For the issuer itself, and tools.
    #[must_use]
    pub fn accept_any_audience(mut self) -> Self {
        self.stage.audience = Audience::Any;
        self
    }

    /// Sets how far ahead of this clock `nbf` and `iat` may be. Never applied to `exp`.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.stage.leeway = leeway;
        self
    }

    /// Roughly how many bytes verified tokens may take; 0 verifies each token anew.
    #[must_use]
    pub fn cache_memory(mut self, bytes: u64) -> Self {
        self.stage.cache_memory = bytes;
        self
    }

    /// Takes the time from elsewhere: for tests and simulations.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.stage.clock = Box::new(clock);
        self
    }

    /// The verifier.
    #[must_use]
    pub fn build(self) -> Verifier {
        let WantsOptions { issuer, keys, revocations, audience, leeway, cache_memory, clock } = self.stage;
        let recent = RecentCapacity::beside(cache_memory);
        let cache = TokenCache::new(cache_memory.saturating_sub(recent.memory()));
        let cache_misses = AtomicU64::new(0);
        let rules = Arc::new(Rules { issuer, audience, keys, revocations, leeway, clock, cache, cache_misses });
        Verifier { recent: Arc::new(RecentTokens::new(&rules, recent)), rules }
    }
}

/// Error of a revocation list whose issuer is not the verifier's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list is for tokens of `{list}`, the verifier for those of `{verifier}`")]
#[non_exhaustive]
pub struct IssuerMismatchError {
    /// Issuer of the list.
    pub list: String,
    /// Issuer of the verifier.
    pub verifier: String,
}

impl fmt::Debug for WantsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantsOptions").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
