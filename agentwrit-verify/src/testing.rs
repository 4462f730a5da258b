//! An issuer in memory and a clock that tests move, for the tests of whoever protects a service with this library.
//!
//! ```
//! use std::time::Duration;
//! use agentwrit_verify::{VerifyError, testing::TestIssuer};
//!
//! let issuer = TestIssuer::new();
//! let token = issuer.token(&["read:data:*"]);
//! assert!(issuer.verifier().verify(&token).is_ok());
//! issuer.clock().advance(Duration::from_secs(300));
//! assert!(matches!(issuer.verifier().verify(&token), Err(VerifyError::Expired { .. })));
//! ```
#![expect(clippy::missing_panics_doc, clippy::expect_used, reason = "a test that asks for nonsense should stop there")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use crate::{
    builder::{VerifierBuilder, WantsOptions},
    claims::ClaimSet,
    clock::{Clock, UnixTime},
    delegation::{Delegation, chain_hash},
    identity::{AgentId, PathSegment, Subject, TokenId, TrustDomain},
    issue::SigningKey,
    keys::KeySet,
    revocation::{Level, RevocationList},
    scope::ScopeSet,
    trusted::TrustedKeys,
    verifier::Verifier,
};

/// A clock that stands still until it is moved. Clones share the time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<(UnixTime, Instant)>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: UnixTime) -> Self {
        Self { state: Arc::new(Mutex::new((now, Instant::now()))) }
    }

    /// Lets time pass, on the wall clock and on the monotonic one.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0.saturating_add(by), state.1.checked_add(by).unwrap_or(state.1));
    }

    /// Sets the wall clock, back too; the monotonic one stands.
    pub fn set(&self, now: UnixTime) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Instant {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// An authority in memory.
#[derive(Debug)]
pub struct TestIssuer {
    key: SigningKey,
    clock: ManualClock,
    keys: TrustedKeys,
    revocations: RevocationList,
    verifier: Verifier,
    issued: AtomicU64,
}

impl TestIssuer {
    /// The `iss` of its tokens.
    pub const ISSUER: &str = "https://issuer.test";

    /// A new authority, always with the same key and the same series of agents and token ids, at
    /// 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed([7; 32])
    }

    /// As [`TestIssuer::new`], with its own key and series: authorities of different seeds have nothing in common but
    /// the `iss`.
    #[must_use]
    pub fn with_seed(seed: [u8; 32]) -> Self {
        let key = SigningKey::from_seed(&seed).expect("the seed is a good one");
        let keys = TrustedKeys::fixed(key_set_of(&key));
        let revocations = RevocationList::new(Self::ISSUER);
        let clock = ManualClock::new(UnixTime::from_seconds(1_767_225_600));
        let verifier = options(&keys, &revocations, &clock).build();
        Self { key, clock, keys, revocations, verifier, issued: AtomicU64::new(0) }
    }

    /// The clock of its tokens and verifiers.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// A verifier that trusts it.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.verifier.clone()
    }

    /// A verifier that trusts it, with options still open.
    #[must_use]
    pub fn verifier_builder(&self) -> VerifierBuilder<WantsOptions> {
        options(&self.keys, &self.revocations, &self.clock)
    }

    /// The withdrawals that its verifiers respect.
    #[must_use]
    pub fn revocations(&self) -> &RevocationList {
        &self.revocations
    }

    /// Withdraws: what it kills is dead for its verifiers from the next call.
    pub fn revoke(&self, level: Level, target: &str) {
        let now = self.clock.now();
        self.revocations.insert(level, target, now, now.saturating_add(Duration::from_secs(86_400)));
    }

    /// The keys that its verifiers trust; publish others to see what happens.
    #[must_use]
    pub fn trusted_keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Its public key set.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        key_set_of(&self.key)
    }

    /// Its private key.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Claims of a fresh agent token: these scopes, valid for 300 seconds from now.
    #[must_use]
    pub fn claims(&self, scopes: &[&str]) -> ClaimSet {
        let (id, instance) = self.next_ids();
        let segment = |text| PathSegment::parse(text).expect("a valid segment");
        let domain = TrustDomain::parse("issuer.test").expect("a valid trust domain");
        let agent = AgentId::new(&domain, &segment("orch"), &segment("task"), instance);
        let now = self.clock.now().seconds();
        ClaimSet {
            iss: Self::ISSUER.into(),
            sub: Subject::Agent(agent),
            aud: Vec::new(),
            exp: now.saturating_add(300),
            nbf: now,
            iat: now,
            jti: id,
            scope: ScopeSet::parse(scopes).expect("valid scopes"),
            task_id: Some(segment("task")),
            orch_id: Some(segment("orch")),
            sid: id,
            delegation_chain: Vec::new(),
            chain_hash: None,
        }
    }

    /// Claims of a token that a fresh agent got from the one that `delegator` speaks for: these scopes, valid as long as
    /// the delegator's. Nothing is checked: narrow them, or see what the verifier says.
    #[must_use]
    pub fn delegated(&self, delegator: &ClaimSet, scopes: &[&str]) -> ClaimSet {
        let mut claims = ClaimSet { exp: delegator.exp, ..self.claims(scopes) };
        let agent = |claims: &ClaimSet| claims.sub.as_agent().cloned().expect("only agents delegate");
        let hop = Delegation {
            agent: agent(delegator),
            scope: delegator.scope.clone(),
            delegated_at: self.clock.now(),
            delegate: agent(&claims),
            sid: delegator.sid,
            expires_at: UnixTime::from_seconds(delegator.exp),
        };
        let mut chain = delegator.delegation_chain.clone();
        chain.push(self.key.sign_delegation(Self::ISSUER, &chain, hop));
        claims.chain_hash = Some(chain_hash(Self::ISSUER, &chain));
        claims.delegation_chain = chain;
        claims
    }

    fn next_ids(&self) -> (TokenId, [u8; 8]) {
        let serial = self.issued.fetch_add(1, Ordering::Relaxed);
        let digest =
            Sha256::new().chain_update(self.key.public_key().as_bytes()).chain_update(serial.to_be_bytes()).finalize();
        let mut bytes = digest.into_iter();
        let mut next = || bytes.next().unwrap_or_default();
        (TokenId::from_bytes(std::array::from_fn(|_| next())), std::array::from_fn(|_| next()))
    }

    /// Signs claims.
    #[must_use]
    pub fn sign(&self, claims: &ClaimSet) -> String {
        self.key.sign_token(claims)
    }

    /// A fresh agent token: these scopes, valid for 300 seconds from now.
    #[must_use]
    pub fn token(&self, scopes: &[&str]) -> String {
        self.sign(&self.claims(scopes))
    }
}

impl Default for TestIssuer {
    fn default() -> Self {
        Self::new()
    }
}

fn key_set_of(key: &SigningKey) -> KeySet {
    KeySet::new([key.public_key().clone()]).expect("one key is a set")
}

fn options(keys: &TrustedKeys, revocations: &RevocationList, clock: &ManualClock) -> VerifierBuilder<WantsOptions> {
    Verifier::builder()
        .issuer(TestIssuer::ISSUER)
        .keys(keys.clone())
        .revocations(revocations.clone())
        .clock(clock.clone())
}
