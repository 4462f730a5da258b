//! What one agent hands to another.

use std::fmt;

use agentwrit_protocol::Secret;
use agentwrit_verify::{AgentId, DelegationRecord, ScopeSet, UnixTime};
use http::HeaderValue;

use crate::agent::AgentToken;

/// A token for another agent, as [`Agent::delegate`](crate::Agent::delegate) had it made. Hand it over; the one who
/// gets it [accepts](crate::Agent::accept) it, or simply sends it as a Bearer token.
#[derive(Clone)]
pub struct DelegatedToken {
    delegate: AgentId,
    scopes: ScopeSet,
    token: AgentToken,
    chain: Vec<DelegationRecord>,
}

impl DelegatedToken {
    pub(crate) fn new(delegate: AgentId, scopes: ScopeSet, token: AgentToken, chain: Vec<DelegationRecord>) -> Self {
        Self { delegate, scopes, token, chain }
    }

    /// Whom it is for: the token's `sub`.
    #[must_use]
    pub fn delegate(&self) -> &AgentId {
        &self.delegate
    }

    /// The token. Whoever exposes it keeps it out of logs.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.token.token
    }

    /// The value of the `Authorization` header: `Bearer` and the token, marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.token.authorization.clone()
    }

    /// When it expires, by this machine's clock; the broker may have granted less than was asked for.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.token.expires_at
    }

    /// What it permits.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Who handed what to whom, the root first, the agent that delegated last. The broker signed each record. Empty when
    /// the broker's response has none of this project's form, as AgentWrit v2's.
    #[must_use]
    pub fn chain(&self) -> &[DelegationRecord] {
        &self.chain
    }
}

impl fmt::Debug for DelegatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegatedToken")
            .field("delegate", &self.delegate.as_str())
            .field("expires_at", &self.expires_at())
            .field("scopes", &self.scopes)
            .field("hops", &self.chain.len())
            .finish_non_exhaustive()
    }
}
