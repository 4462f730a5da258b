//! Drafts and signs tokens under the operator's policy.
//!
//! 1. A token is drafted inside the transaction that records it, and signed after the commit: no token leaves the broker
//!    without its record.
//! 2. The key that signs a token is the active one while the transaction runs that records it: the store's lock orders that
//!    and a change of the keys by any broker.
//! 3. Callers read policy, key ring and entropy through the [`Issuer`] at each use and keep no copy, so that keys can be
//!    rotated while the broker runs.

pub(crate) mod challenge;
mod draft;
pub(crate) mod nonce;
mod ring;

use std::sync::Arc;

use agentwrit_protocol::TokenType;
use agentwrit_verify::{AgentId, DelegationRecord, PathSegment, TokenId, TrustDomain, UnixTime};
use data_encoding::HEXLOWER;

pub(crate) use self::{
    challenge::Challenges,
    draft::{Draft, Grant, Issued, RecordedDraft},
    ring::{CurrentRing, KeyRing},
};
use crate::{
    config::{Config, SenderConstrained},
    domain::IssuedToken,
    keys::{Custody, Entropy, random},
    store::{StoreError, Tx},
    telemetry::metrics::Metrics,
};

/// The operator's decisions about tokens. Lifetimes are in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) issuer: String,
    pub(crate) audience: Option<String>,
    pub(crate) sender_constrained: SenderConstrained,
    pub(crate) default_ttl: u64,
    pub(crate) max_ttl: Option<u64>,
    pub(crate) admin_token_ttl: u64,
    pub(crate) app_token_ttl: u64,
}

impl Policy {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            trust_domain: config.trust_domain.clone(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            sender_constrained: config.sender_constrained,
            default_ttl: config.default_ttl,
            max_ttl: config.max_ttl,
            admin_token_ttl: config.admin_token_ttl,
            app_token_ttl: config.app_token_ttl,
        }
    }

    /// Limits a lifetime to the operator's ceiling.
    pub(crate) fn clamp(&self, ttl: u64) -> u64 {
        self.max_ttl.map_or(ttl, |ceiling| ttl.min(ceiling))
    }
}

/// The policy, and the keys that tokens and documents are signed with.
#[derive(Debug)]
pub(crate) struct Issuer {
    policy: Policy,
    keys: Arc<CurrentRing>,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
}

impl Issuer {
    pub(crate) fn new(
        policy: Policy,
        keys: Arc<CurrentRing>,
        entropy: Arc<dyn Entropy>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { policy, keys, entropy, metrics }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The `iss` of everything that is signed.
    pub(crate) fn name(&self) -> &str {
        &self.policy.issuer
    }

    /// Returns the newest keys.
    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.keys.ring()
    }

    pub(crate) fn current_ring(&self) -> &CurrentRing {
        &self.keys
    }

    /// Returns the custody of the signing keys.
    pub(crate) fn custody(&self) -> &Custody {
        self.keys.custody()
    }

    /// Fresh bytes from the source of secrets and identifiers.
    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        random(self.entropy.as_ref())
    }

    /// A new agent's id.
    pub(crate) fn new_agent_id(&self, orch_id: &PathSegment, task_id: &PathSegment) -> AgentId {
        AgentId::new(&self.policy.trust_domain, orch_id, task_id, self.random())
    }

    /// A new token's id.
    pub(crate) fn new_token_id(&self) -> TokenId {
        TokenId::from_bytes(self.random())
    }

    /// Drafts the first token of a session.
    pub(crate) fn draft(&self, grant: Grant, now: UnixTime) -> Draft {
        Draft::first(&self.policy, self.new_token_id(), grant, now)
    }

    /// Length of the signed token, in bytes. Ids and times have a fixed length, so every draft of one grant has the same.
    pub(crate) fn length_of(&self, draft: &Draft) -> usize {
        self.ring().active.token_length(&draft.claims)
    }

    /// Adds the record of a token.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) fn insert(&self, tx: &mut Tx<'_>, draft: Draft) -> Result<RecordedDraft, StoreError> {
        let record = draft.as_record();
        self.insert_as(tx, draft, &record)
    }

    /// Adds the record of a token that continues a session.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) fn insert_as(
        &self,
        tx: &mut Tx<'_>,
        draft: Draft,
        record: &IssuedToken,
    ) -> Result<RecordedDraft, StoreError> {
        tx.insert_token(record)?;
        Ok(RecordedDraft { draft, key: Arc::clone(&self.ring().active) })
    }

    /// Signs a token whose record is durable.
    pub(crate) fn sign(&self, recorded: &RecordedDraft) -> Issued {
        let claims = &recorded.draft.claims;
        self.metrics.token_issued(&claims.scope);
        Issued {
            access_token: recorded.key.sign_token(claims),
            expires_in: claims.exp.saturating_sub(claims.iat),
            token_type: claims.cnf.as_ref().map(|_| TokenType::Dpop),
        }
    }

    /// Signs a hop of a delegation chain, in the transaction that records the token.
    pub(crate) fn sign_record(&self, chain: &[DelegationRecord], record: DelegationRecord) -> DelegationRecord {
        let signed = record.signed_bytes(&self.policy.issuer, chain.len(), chain.last());
        DelegationRecord { signature: HEXLOWER.encode(&self.ring().active.sign(&signed)), ..record }
    }
}
