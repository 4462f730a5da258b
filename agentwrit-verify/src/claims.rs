//! Claims of a token: as written ([`ClaimSet`]) and verified ([`Claims`]).

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    clock::UnixTime,
    delegation_record::DelegationRecord,
    identity::{AgentId, PathSegment, Subject, TokenId},
    scope::ScopeSet,
    thumbprint::SenderConstraint,
};

/// Claims as written in a token. **Holding one proves nothing**: issuers build them, inspection and
/// [`Verifier::verify_at`](crate::Verifier::verify_at) return them; only [`Claims`] are verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract, and issuers must name each")]
pub struct ClaimSet {
    /// Issuer (RFC 7519 §4.1.1).
    pub iss: String,
    /// Subject (RFC 7519 §4.1.2).
    pub sub: Subject,
    /// Audience; always written as a list, left out when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    /// Expiry, Unix seconds; at this moment the token is expired (RFC 7519 §4.1.4).
    pub exp: u64,
    /// Not before, Unix seconds (RFC 7519 §4.1.5).
    pub nbf: u64,
    /// Issued at, Unix seconds.
    pub iat: u64,
    /// The token's name.
    pub jti: TokenId,
    /// Granted scopes, in the requested order.
    pub scope: ScopeSet,
    /// The agent's task.
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<PathSegment>,
    /// The agent's orchestrator.
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    pub orch_id: Option<PathSegment>,
    /// The session: the `jti` of the first token of a renewal family.
    pub sid: TokenId,
    /// Delegation records, root first; empty unless the token was delegated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegation_chain: Vec<DelegationRecord>,
    /// Hexadecimal SHA-256 over the chain; see [`delegation`](crate::delegation).
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    pub chain_hash: Option<String>,
    /// Confirmation claim: only the holder of this key may use the token (RFC 9449 §6.1). An issuer that copies claims
    /// for another subject must not copy it.
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    pub cnf: Option<SenderConstraint>,
}

/// Verified claims. Only [`Verifier::verify`](crate::Verifier::verify) and its variants create them, so holding one proves
/// that the token's signature, issuer, audience, times, delegation chain and revocation were checked at that moment, by
/// keys and a revocation list within the verifier's bounds, and that the sender proved the key of a sender-constrained
/// token.
///
/// ```compile_fail,E0599
/// # use agentwrit_verify::{Scope, UnixTime, Verifier};
/// fn permit_of_the_past(verifier: &Verifier, token: &str, scope: &Scope) {
///     let claims = verifier.verify_at(token, UnixTime::default()).unwrap();
///     claims.permit(scope).unwrap();
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(ClaimSet);

impl Claims {
    /// Wraps claims after every check; called by the verifier only.
    pub(crate) fn verified(claims: ClaimSet) -> Self {
        Self(claims)
    }

    /// Returns subject and token id, for errors.
    pub(crate) fn name(&self) -> (Subject, TokenId) {
        (self.0.sub.clone(), self.0.jti)
    }

    /// Drops the proof, where a check follows that may not have held.
    pub(crate) fn into_claim_set(self) -> ClaimSet {
        self.0
    }

    /// Returns the issuer (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.iss
    }

    /// Returns the subject (`sub`).
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.sub
    }

    /// Returns the subject's agent id, if the subject is an agent.
    #[must_use]
    pub fn agent_id(&self) -> Option<&AgentId> {
        self.0.sub.as_agent()
    }

    /// Returns the audiences (`aud`); may be empty.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.0.aud
    }

    /// Returns the moment at which the token is expired (`exp`).
    #[must_use]
    pub fn expires_at(&self) -> UnixTime {
        UnixTime::from_seconds(self.0.exp)
    }

    /// Returns the first moment at which the token is valid (`nbf`).
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        UnixTime::from_seconds(self.0.nbf)
    }

    /// Returns the time of issue (`iat`).
    #[must_use]
    pub fn issued_at(&self) -> UnixTime {
        UnixTime::from_seconds(self.0.iat)
    }

    /// Returns the token id (`jti`).
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.0.jti
    }

    /// Returns the session: the token's renewal family (`sid`).
    #[must_use]
    pub fn session_id(&self) -> TokenId {
        self.0.sid
    }

    /// Returns the granted scopes (`scope`).
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.0.scope
    }

    /// Returns the agent's task (`task_id`).
    #[must_use]
    pub fn task_id(&self) -> Option<&PathSegment> {
        self.0.task_id.as_ref()
    }

    /// Returns the agent's orchestrator (`orch_id`).
    #[must_use]
    pub fn orch_id(&self) -> Option<&PathSegment> {
        self.0.orch_id.as_ref()
    }

    /// Returns the delegation records, root first; empty unless the token was delegated.
    #[must_use]
    pub fn delegation_chain(&self) -> &[DelegationRecord] {
        &self.0.delegation_chain
    }

    /// Returns the confirmation claim (`cnf`): the key without which the token can't be used.
    #[must_use]
    pub fn sender_constraint(&self) -> Option<&SenderConstraint> {
        self.0.cnf.as_ref()
    }

    /// Returns the claims as written in the token.
    #[must_use]
    pub fn as_claim_set(&self) -> &ClaimSet {
        &self.0
    }
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
