//! Builder of a [`ProofVerifier`]: a builder that lacks an external URL, or the decision for none, does not compile.

use std::{sync::Arc, time::Duration};

use super::{ExternalUrl, ExternalUrlError, NonceKey, ProofVerifier, ReplayTable, key::Accepted, verifier::ProofRules};
use crate::{
    clock::{Clock, SystemClock},
    staleness::ClockReading,
};

/// Builds a [`ProofVerifier`]. `Stage` is the next required decision.
#[derive(Debug)]
pub struct ProofVerifierBuilder<Stage> {
    stage: Stage,
}

/// Next: [`ProofVerifierBuilder::external_url`] or [`ProofVerifierBuilder::without_external_url`].
#[derive(Debug)]
pub struct WantsExternalUrl(());

/// Every decision is made; what follows has defaults.
#[derive(Debug)]
pub struct WantsProofOptions {
    urls: Vec<ExternalUrl>,
    window: Duration,
    leeway: Duration,
    requires_proof: bool,
    nonces: Option<NonceKey>,
    replay_capacity: usize,
    algorithms: Accepted,
    clock: Box<dyn Clock>,
}

impl ProofVerifier {
    /// Starts to build one: external URLs, then options.
    #[must_use]
    pub fn builder() -> ProofVerifierBuilder<WantsExternalUrl> {
        ProofVerifierBuilder { stage: WantsExternalUrl(()) }
    }
}

impl ProofVerifierBuilder<WantsExternalUrl> {
    /// Sets the URL by which clients reach the service: see [`ExternalUrl`].
    ///
    /// # Errors
    ///
    /// [`ExternalUrlError`] for a text that is no such URL.
    pub fn external_url(self, url: &str) -> Result<ProofVerifierBuilder<WantsProofOptions>, ExternalUrlError> {
        self.without_external_url().external_url(url)
    }

    /// Accepts proofs only where a trusted proxy names the URL ([`received_at`](super::PresentedToken::received_at)), otherwise
    /// only keys that clients prove to TLS ([`client_key`](super::PresentedToken::client_key)).
    #[must_use]
    pub fn without_external_url(self) -> ProofVerifierBuilder<WantsProofOptions> {
        let WantsExternalUrl(()) = self.stage;
        let stage = WantsProofOptions {
            urls: Vec::new(),
            window: ProofVerifierBuilder::DEFAULT_WINDOW,
            leeway: ProofVerifierBuilder::DEFAULT_LEEWAY,
            requires_proof: false,
            nonces: None,
            replay_capacity: ProofVerifierBuilder::DEFAULT_REPLAY_CAPACITY,
            algorithms: Accepted::Ed25519,
            clock: Box::new(SystemClock),
        };
        ProofVerifierBuilder { stage }
    }
}

impl ProofVerifierBuilder<WantsProofOptions> {
    /// Default of [`window`](Self::window).
    pub const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
    /// Default of [`leeway`](Self::leeway).
    pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(5);
    /// Default of [`replay_capacity`](Self::replay_capacity): 17 MB when full.
    pub const DEFAULT_REPLAY_CAPACITY: usize = 1 << 20;

    /// Adds another URL by which clients reach the service.
    ///
    /// # Errors
    ///
    /// [`ExternalUrlError`] for a text that is no such URL.
    pub fn external_url(mut self, url: &str) -> Result<Self, ExternalUrlError> {
        self.stage.urls.push(ExternalUrl::parse(url)?);
        Ok(self)
    }

    /// Sets the age up to which a proof is accepted.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.stage.window = window;
        self
    }

    /// Sets how far ahead of this clock the `iat` of a proof may be.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.stage.leeway = leeway;
        self
    }

    /// Rejects tokens that are not sender-constrained.
    #[must_use]
    pub fn require_proof(mut self) -> Self {
        self.stage.requires_proof = true;
        self
    }

    /// Demands a nonce of this key in each proof, at most as old as the [window](Self::window) (§8, §9).
    #[must_use]
    pub fn nonces(mut self, key: NonceKey) -> Self {
        self.stage.nonces = Some(key);
        self
    }

    /// Sets the number of proofs that are recorded at least, at about 13 bytes each.
    ///
    /// When more come in during the window, each new record replaces an old one, and a proof as old as that is refused
    /// ([`Superseded`](super::ProofError::Superseded)). A proof that arrives `delay` after it was signed finds its place up to some
    /// `proofs / (leeway + delay)` proofs a second: the clients of that many, with `iat` as far ahead as the leeway permits,
    /// leave no place for the `iat` of now. The default admits about 200,000 a second, the signatures of some seven cores.
    #[must_use]
    pub fn replay_capacity(mut self, proofs: usize) -> Self {
        self.stage.replay_capacity = proofs;
        self
    }

    /// Accepts proofs by keys on P-256 too (`ES256`): for tokens of OAuth clients, which may have no Ed25519.
    #[cfg(feature = "es256")]
    #[cfg_attr(docsrs, doc(cfg(feature = "es256")))]
    #[must_use]
    pub fn accept_es256(mut self) -> Self {
        self.stage.algorithms = Accepted::Ed25519AndEs256;
        self
    }

    /// Takes the time from elsewhere: for tests and simulations.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.stage.clock = Box::new(clock);
        self
    }

    /// The verifier of proofs, which starts now.
    #[must_use]
    pub fn build(self) -> ProofVerifier {
        let WantsProofOptions { urls, window, leeway, requires_proof, nonces, replay_capacity, algorithms, clock } =
            self.stage;
        ProofVerifier(Arc::new(ProofRules {
            urls,
            window,
            leeway,
            requires_proof,
            nonces,
            own_nonces: NonceKey::of_this_process(),
            started_at: ClockReading::of(&*clock),
            replays: Arc::new(ReplayTable::new(replay_capacity)),
            algorithms,
            clock,
        }))
    }
}
