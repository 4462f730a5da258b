//! In-memory issuer and manual clock, for the tests of services that use this library.
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
//!
//! [`TestFollower`] is a service that follows the feed, over a simulated network.
//!
//! ```
//! use std::time::Duration;
//! use agentwrit_verify::{Level, VerifyError, feed::Staleness, testing::{TestFollower, TestIssuer}};
//!
//! let mut issuer = TestIssuer::new();
//! let mut service = TestFollower::of(&issuer, Staleness::default());
//! service.poll(&issuer)?;
//! let claims = issuer.claims(&["read:data:*"]);
//! let token = issuer.sign(&claims);
//! assert!(service.verifier().verify(&token).is_ok());
//!
//! // A revocation reaches the service with the next poll.
//! issuer.revoke(Level::Agent, &claims.sub.to_string());
//! service.poll(&issuer)?;
//! assert!(matches!(service.verifier().verify(&token), Err(VerifyError::Revoked { level: Level::Agent, .. })));
//!
//! // The network is down and time passes.
//! let token = issuer.token(&["read:data:*"]);
//! issuer.clock().advance(Duration::from_secs(25));
//! assert!(matches!(service.verifier().verify(&token), Err(VerifyError::StaleRevocations { .. })));
//!
//! // The network is back, and the issuer has a new key.
//! issuer.rotate_key([8; 32]);
//! service.fetch_keys(&issuer);
//! service.poll(&issuer)?;
//! assert!(service.verifier().verify(&token).is_ok());
//! # Ok::<(), agentwrit_verify::FeedError>(())
//! ```
#![expect(clippy::missing_panics_doc, clippy::expect_used, reason = "an invalid argument should fail the test")]

mod clock;
mod feed;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};

use self::feed::RevocationLog;
pub use self::{clock::ManualClock, feed::TestFollower};
use crate::{
    builder::{VerifierBuilder, WantsOptions},
    claims::ClaimSet,
    clock::{Clock as _, UnixTime},
    delegation::{Delegation, chain_hash},
    feed::{FeedCursor, FeedEntry, KeyAnnouncement},
    identity::{AgentId, PathSegment, Subject, TokenId, TrustDomain},
    issue::SigningKey,
    keys::{KeySet, PublicKey},
    revocation::{Level, RevocationKey, RevocationList},
    scope::ScopeSet,
    thumbprint::{SenderConstraint, Thumbprint},
    trusted::TrustedKeys,
    verifier::Verifier,
};

/// An authority in memory.
#[derive(Debug)]
pub struct TestIssuer {
    key: SigningKey,
    clock: ManualClock,
    keys: TrustedKeys,
    revocations: RevocationList,
    verifier: Verifier,
    issued: AtomicU64,
    retired: Vec<PublicKey>,
    prepared: Option<SigningKey>,
    announces_keys: bool,
    log: Mutex<RevocationLog>,
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

    /// Creates an issuer as [`TestIssuer::new`], with its own key and series of ids: issuers of different seeds share
    /// only the `iss`.
    #[must_use]
    pub fn with_seed(seed: [u8; 32]) -> Self {
        let key = SigningKey::from_seed(&seed).expect("the seed is a good one");
        let keys = TrustedKeys::fixed(key_set_of(&key));
        let revocations = RevocationList::authoritative(Self::ISSUER);
        let clock = ManualClock::new(UnixTime::from_seconds(1_767_225_600));
        let verifier = options(&keys, &revocations, &clock).build();
        Self {
            key,
            clock,
            keys,
            revocations,
            verifier,
            issued: AtomicU64::new(0),
            retired: Vec::new(),
            prepared: None,
            announces_keys: true,
            log: Mutex::default(),
        }
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

    /// Returns the revocations that its verifiers check.
    #[must_use]
    pub fn revocations(&self) -> &RevocationList {
        &self.revocations
    }

    /// Revokes for a day: its verifiers reject the token from the next call, and the entry is added to the feed.
    pub fn revoke(&self, level: Level, target: &str) {
        self.revoke_until(level, target, self.clock.now().saturating_add(Duration::from_secs(86_400)));
    }

    /// Revokes; the entry is removed at `expires_at`, when the last token that it could affect has expired.
    pub fn revoke_until(&self, level: Level, target: &str, expires_at: UnixTime) {
        let now = self.clock.now();
        self.revocations.insert(level, target, now, expires_at);
        let key = RevocationKey::of(level, Self::ISSUER, target);
        self.log().add(FeedEntry { level, key, revoked_at: now, expires_at });
    }

    /// Returns the response of its feed to `since`: the entries after it, or a snapshot. See [`Feed`](crate::feed::Feed).
    #[must_use]
    pub fn feed_response(&self, since: Option<u64>) -> String {
        let announced = KeyAnnouncement::of(&self.key_set(), self.key.id()).filter(|_| self.announces_keys);
        self.log().response(&self.key, announced.as_ref(), since, self.clock.now())
    }

    /// Returns the cursor of the latest entry of its log.
    #[must_use]
    pub fn cursor(&self) -> FeedCursor {
        self.log().cursor()
    }

    /// Keeps only the first `kept` entries of its log, as after the restore of a backup, and announces it: the feed
    /// starts a new epoch, in which everything issued until now is revoked.
    pub fn restore_backup(&self, kept: usize) {
        self.log().restore(kept);
        self.revoke(Level::Issuer, "");
    }

    fn log(&self) -> std::sync::MutexGuard<'_, RevocationLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the next key, which does not sign yet.
    pub fn prepare_key(&mut self, seed: [u8; 32]) {
        self.prepared = Some(SigningKey::from_seed(&seed).expect("the seed is a good one"));
        self.publish_keys();
    }

    /// Signs with the prepared key from now on. The one before stays in the key set.
    pub fn activate_prepared_key(&mut self) {
        if let Some(next) = self.prepared.take() {
            self.retired.push(std::mem::replace(&mut self.key, next).public_key().clone());
        }
        self.publish_keys();
    }

    /// Signs with another key from now on. The one before stays in the key set.
    pub fn rotate_key(&mut self, seed: [u8; 32]) {
        self.prepare_key(seed);
        self.activate_prepared_key();
    }

    /// Publishes keys without announcing them in the feed, as a broker of version 2.0.
    pub fn announce_no_keys(&mut self) {
        self.announces_keys = false;
    }

    fn publish_keys(&self) {
        self.log().add_change_of_keys(self.clock.now());
        self.keys.publish(self.key_set(), self.clock.monotonic());
    }

    /// Removes every key but the current one from the key set, which invalidates the tokens that they signed.
    pub fn withdraw_retired_keys(&mut self) {
        self.retired.clear();
        self.publish_keys();
    }

    /// The keys that its verifiers trust; publish others to see what happens.
    #[must_use]
    pub fn trusted_keys(&self) -> &TrustedKeys {
        &self.keys
    }

    /// Returns the public key set.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        let prepared = self.prepared.iter().map(SigningKey::public_key);
        let keys = std::iter::once(self.key.public_key()).chain(prepared).chain(&self.retired);
        KeySet::new(keys.cloned()).expect("a few different keys are a set")
    }

    /// Returns the private key.
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
            cnf: None,
        }
    }

    /// Creates claims of a token delegated from `delegator` to a new agent: these scopes, valid as long as the
    /// delegator's. Nothing is checked, so that tests can create invalid delegations.
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

    /// A fresh agent token like that of [`token`](Self::token), bound to the key of that thumbprint.
    #[must_use]
    pub fn bound_token(&self, scopes: &[&str], key: Thumbprint) -> String {
        self.sign(&ClaimSet { cnf: Some(SenderConstraint { jkt: key }), ..self.claims(scopes) })
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
