//! A token between the decision to issue it and its signature.

use std::{ops::Deref, sync::Arc};

use agentwrit_protocol::TokenType;
use agentwrit_verify::{
    AppId, ClaimSet, PathSegment, ScopeSet, SenderConstraint, Subject, TokenId, UnixTime, issue::SigningKey,
};

use super::Policy;
use crate::domain::IssuedToken;

/// Subject, scope and lifetime of a new token.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) subject: Subject,
    pub(crate) scope: ScopeSet,
    /// Seconds.
    pub(crate) ttl: u64,
    pub(crate) app_id: Option<AppId>,
    pub(crate) task_id: Option<PathSegment>,
    pub(crate) orch_id: Option<PathSegment>,
}

/// A signed token, whose record is durable.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    /// Seconds.
    pub(crate) expires_in: u64,
    /// None for a bearer token, as AgentWrit v2 responds.
    pub(crate) token_type: Option<TokenType>,
}

/// A token that is not signed yet.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) claims: ClaimSet,
    app_id: Option<AppId>,
}

/// A token whose record a transaction adds, and the key that signs it after the commit.
#[derive(Debug)]
pub(crate) struct RecordedDraft {
    pub(super) draft: Draft,
    pub(super) key: Arc<SigningKey>,
}

impl RecordedDraft {
    pub(crate) fn into_claims(self) -> ClaimSet {
        self.draft.claims
    }
}

impl Deref for RecordedDraft {
    type Target = Draft;

    fn deref(&self) -> &Draft {
        &self.draft
    }
}

impl Draft {
    /// A token with these claims, which belongs to `app_id`.
    pub(crate) fn new(claims: ClaimSet, app_id: Option<AppId>) -> Self {
        Self { claims, app_id }
    }

    /// The first token of a session.
    pub(super) fn first(policy: &Policy, jti: TokenId, grant: Grant, now: UnixTime) -> Self {
        let iat = now.seconds();
        let claims = ClaimSet {
            iss: policy.issuer.clone(),
            sub: grant.subject,
            aud: policy.audience.clone().into_iter().collect(),
            exp: iat.saturating_add(grant.ttl),
            nbf: iat,
            iat,
            jti,
            scope: grant.scope,
            task_id: grant.task_id,
            orch_id: grant.orch_id,
            sid: jti,
            delegation_chain: Vec::new(),
            chain_hash: None,
            cnf: None,
        };
        Self { claims, app_id: grant.app_id }
    }

    /// The same token issued at `now`, with the same lifetime.
    pub(crate) fn issued_at(mut self, now: UnixTime) -> Self {
        let claims = &mut self.claims;
        let ttl = claims.exp.saturating_sub(claims.iat);
        let iat = now.seconds();
        (claims.iat, claims.nbf, claims.exp) = (iat, iat, iat.saturating_add(ttl));
        self
    }

    /// The same token, bound to a key.
    pub(crate) fn bound_to(mut self, constraint: SenderConstraint) -> Self {
        self.claims.cnf = Some(constraint);
        self
    }

    /// Returns true if the scopes are those of the agent's registration.
    fn is_registered(&self) -> bool {
        self.claims.sub.as_agent().is_some() && self.claims.delegation_chain.is_empty()
    }

    /// The record that the store keeps of the token.
    pub(crate) fn as_record(&self) -> IssuedToken {
        let claims = &self.claims;
        let issued_at = UnixTime::from_seconds(claims.iat);
        IssuedToken {
            jti: claims.jti,
            sid: claims.sid,
            subject: claims.sub.clone(),
            app_id: self.app_id.clone(),
            task_id: claims.task_id.clone(),
            scope: (!self.is_registered()).then(|| claims.scope.clone()),
            sender_constrained: claims.cnf.is_some(),
            root: claims.delegation_chain.first().map(|record| record.agent.clone()),
            delegators: claims.delegation_chain.iter().map(|record| record.agent.clone()).collect(),
            delegator_sids: claims.delegation_chain.iter().map(|record| record.sid).collect(),
            issued_at,
            expires_at: UnixTime::from_seconds(claims.exp),
            original_ttl: claims.exp.saturating_sub(claims.iat),
            session_started_at: issued_at,
        }
    }
}
