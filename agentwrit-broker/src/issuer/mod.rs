//! Drafts and signs tokens under the operator's policy.
//!
//! 1. A token is drafted inside the transaction that records it, and signed after the commit: no token leaves the broker
//!    without its record.
//! 2. Callers read policy, key set and entropy through the [`Issuer`] at each use and keep no copy, so that keys can be
//!    rotated while the broker runs.

pub(crate) mod challenge;
mod draft;
pub(crate) mod nonce;

use std::sync::Arc;

use agentwrit_verify::{
    AgentId, DelegationRecord, KeySet, PathSegment, TokenId, TrustDomain, UnixTime,
    feed::{EntryWriter, ResponseHead},
    issue::SigningKey,
};
use data_encoding::HEXLOWER;

pub(crate) use self::{
    challenge::Challenges,
    draft::{Draft, Grant, Issued},
};
use crate::{
    config::Config,
    keys::{Entropy, random},
    telemetry::metrics::Metrics,
};

/// The operator's decisions about tokens. Lifetimes are in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) issuer: String,
    pub(crate) audience: Option<String>,
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
    signing_key: SigningKey,
    keys: KeySet,
    entropy: Arc<dyn Entropy>,
    metrics: Arc<Metrics>,
}

impl Issuer {
    pub(crate) fn new(
        policy: Policy,
        signing_key: SigningKey,
        keys: KeySet,
        entropy: Arc<dyn Entropy>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { policy, signing_key, keys, entropy, metrics }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The `iss` of everything that is signed.
    pub(crate) fn name(&self) -> &str {
        &self.policy.issuer
    }

    /// The published keys.
    pub(crate) fn keys(&self) -> &KeySet {
        &self.keys
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
        self.signing_key.token_length(&draft.claims)
    }

    /// Signs a token whose record is durable.
    pub(crate) fn sign(&self, draft: &Draft) -> Issued {
        self.metrics.token_issued(&draft.claims.scope);
        let expires_in = draft.claims.exp.saturating_sub(draft.claims.iat);
        Issued { access_token: self.signing_key.sign_token(&draft.claims), expires_in }
    }

    /// Signs a hop of a delegation chain.
    pub(crate) fn sign_record(&self, chain: &[DelegationRecord], record: DelegationRecord) -> DelegationRecord {
        let signed = record.signed_bytes(&self.policy.issuer, chain.len(), chain.last());
        DelegationRecord { signature: HEXLOWER.encode(&self.signing_key.sign(&signed)), ..record }
    }

    /// Signs a response of the revocation feed: see [`SigningKey::sign_feed_response`].
    pub(crate) fn sign_feed_response<E>(
        &self,
        head: &ResponseHead<'_>,
        count: usize,
        entries: impl FnOnce(&mut EntryWriter<'_, '_>) -> Result<(), E>,
    ) -> Result<String, E> {
        self.signing_key.sign_feed_response(head, count, entries)
    }
}
