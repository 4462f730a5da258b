//! Tokens that one agent delegates to another.

use std::fmt;

use agentwrit_protocol::Secret;
use agentwrit_verify::{AgentId, DelegationRecord, ScopeSet, UnixTime};
use http::HeaderValue;

use crate::agent_token::AgentToken;

/// Token for another agent, from [`Agent::delegate`](crate::Agent::delegate). That agent
/// [accepts](crate::Agent::accept) it.
///
/// A token that [is bound](Self::is_bound) to the delegate's key is of no use to anyone else, its delegator included.
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

    /// Returns the agent that it is for: the token's `sub`.
    #[must_use]
    pub fn delegate(&self) -> &AgentId {
        &self.delegate
    }

    /// Returns the token. Keep it out of logs.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.token.token
    }

    /// Returns true if the token is bound to the key of its delegate (RFC 9449).
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.token.bound_to.is_some()
    }

    /// Returns the value of the `Authorization` header, marked as sensitive. For a bound token it is half of what a
    /// request needs: the delegate [accepts](crate::Agent::accept) it and adds the proof.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.token.authorization.clone()
    }

    /// Returns the credentials of a request, or an error for a bound token: the delegate's key signs its proofs.
    #[cfg(any(feature = "reqwest-middleware", feature = "tower"))]
    pub(crate) fn credentials(&self) -> Result<crate::RequestCredentials, crate::ClientError> {
        self.token.credentials()
    }

    /// Returns the expiry by this machine's clock; the broker may have granted less time than requested.
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        self.token.expires_at
    }

    /// Returns the scopes.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// Returns the delegation chain, the root first; the broker signed each record. Empty when the broker's response
    /// has none of this project's form, like AgentWrit v2's.
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
