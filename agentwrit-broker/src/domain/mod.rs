//! The broker's records: plain data, whose fields are already valid.
//!
//! 1. No record holds a secret: launch tokens and client secrets are kept as a [`Digest`].
//! 2. A record states facts; what they permit is decided in `service`.

mod app;
mod claims;
mod cluster;
mod digest;
mod id_template;
mod launch_token;
mod stored_key;
mod trust_rule;
mod verifier;

use agentwrit_verify::{AgentId, AppId, Level, PathSegment, ScopeSet, Subject, TokenId, UnixTime};

pub use self::{
    app::{App, AppName, AppNameError, AppStatus, FormerSecret},
    claims::{ClaimName, ClaimNameError},
    cluster::{ClusterSettings, Disagreement},
    digest::Digest,
    id_template::{IdTemplate, IdTemplateError, UnusableClaim},
    launch_token::{LaunchToken, LaunchTokenId, LaunchTokenIdError},
    stored_key::{KeyPurpose, KeyState, StoredKey},
    trust_rule::{RuleKeys, TrustRule, TrustRuleError, TrustRuleId, TrustRuleIdError},
    verifier::{Enrolment, FormerBound, InstanceState},
};

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredAgent {
    /// SPIFFE id.
    pub agent_id: AgentId,
    /// App of the launch token or trust rule that it registered with.
    pub app_id: Option<AppId>,
    /// Scopes that it registered for.
    pub scope: ScopeSet,
    /// Ed25519 key.
    pub public_key: [u8; 32],
    /// True if all of its tokens are bound to its key.
    pub sender_constrained: bool,
    /// Credential that it registered with.
    pub registered_with: RegisteredWith,
    /// Time of its registration.
    pub registered_at: UnixTime,
    /// Expiry of the latest of its tokens.
    pub expires_at: UnixTime,
    /// Time from which it is barred from receiving another token.
    pub revoked_at: Option<UnixTime>,
}

/// Credential that permitted a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisteredWith {
    /// A launch token.
    LaunchToken(LaunchTokenId),
    /// An assertion of another issuer.
    Attestation(AttestedIdentity),
}

/// Identity of a workload in the words of another issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedIdentity {
    /// Trust rule that permitted the registration.
    pub rule: TrustRuleId,
    /// `iss` of the assertion, or the SPIFFE trust domain.
    pub issuer: String,
    /// `sub` of the assertion.
    pub subject: String,
    /// Uid of the Kubernetes pod.
    pub pod_uid: Option<String>,
}

impl RegisteredWith {
    /// Returns the launch token, if it was one.
    pub(crate) fn launch_token(&self) -> Option<&LaunchTokenId> {
        match self {
            Self::LaunchToken(id) => Some(id),
            Self::Attestation(_) => None,
        }
    }

    /// Returns the attested identity, if it was an assertion.
    pub(crate) fn attestation(&self) -> Option<&AttestedIdentity> {
        match self {
            Self::LaunchToken(_) => None,
            Self::Attestation(identity) => Some(identity),
        }
    }
}

/// Record of an issued token: what revocation and renewal need of it, not the token itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// Id of the token.
    pub jti: TokenId,
    /// Session: the `jti` of the first token of its renewal family.
    pub sid: TokenId,
    /// Subject of the token.
    pub subject: Subject,
    /// App that it belongs to.
    pub app_id: Option<AppId>,
    /// Task that it was issued for.
    pub task_id: Option<PathSegment>,
    /// Scopes, where they are not those of the registration of its subject.
    pub scope: Option<ScopeSet>,
    /// True if it is bound to the key of its subject.
    pub sender_constrained: bool,
    /// First delegator of its chain.
    pub root: Option<AgentId>,
    /// All delegators of its chain, root first.
    pub delegators: Vec<AgentId>,
    /// Session of each delegator, in the same order.
    pub delegator_sids: Vec<TokenId>,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
    /// Lifetime that each renewal starts from, in seconds.
    pub original_ttl: u64,
    /// `iat` of the first token of its session.
    pub session_started_at: UnixTime,
}

/// An issued token in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// The record of the token.
    pub token: IssuedToken,
    /// Scopes of the token; none for a delegated token that an older broker issued.
    pub scope: Option<ScopeSet>,
    /// Time at which it was released, renewed or revoked.
    pub ended_at: Option<UnixTime>,
}

/// An entry of the revocation feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Level of the target.
    pub level: Level,
    /// Revoked jti, session, subject or task; empty at issuer level.
    pub target: String,
    /// Not-before mark.
    pub revoked_at: UnixTime,
    /// Time at which every token that it could affect has expired.
    pub expires_at: UnixTime,
    /// Subject that revoked.
    pub revoked_by: Subject,
    /// Reason, in the words of that subject.
    pub reason: Option<String>,
    /// True for a requested revocation; false for an entry that follows from a release, a renewal or another revocation.
    pub listed: bool,
}

impl Revocation {
    /// An entry for each of `ahead`: tokens (with their expiry) dated after the second of this entry, which its
    /// not-before mark does not reach.
    pub(crate) fn of_those_ahead<'a>(&'a self, ahead: &'a [(TokenId, UnixTime)]) -> impl Iterator<Item = Self> + 'a {
        ahead.iter().map(|(jti, expires_at)| Self {
            level: Level::Token,
            target: jti.to_string(),
            expires_at: *expires_at,
            listed: false,
            ..self.clone()
        })
    }
}
