//! Token of an agent: from a response of the broker, or from a text.

use std::{sync::Arc, time::Duration};

use agentwrit_protocol::{Secret, TokenType};
use agentwrit_verify::{AgentId, ScopeSet, Thumbprint, UnixTime, UnverifiedToken};
use http::HeaderValue;

use crate::{
    agent_key::AgentKey,
    authorization::authorization,
    client::Client,
    credentials::{Prover, RequestCredentials},
    error::ClientError,
    request::ApiRequest,
};

/// Token of an agent.
#[derive(Clone)]
pub(crate) struct AgentToken {
    pub(crate) token: Secret,
    pub(crate) authorization: HeaderValue,
    /// Thumbprint of the key that the token is bound to (`cnf.jkt`).
    pub(crate) bound_to: Option<Thumbprint>,
    prover: Option<Arc<Prover>>,
    pub(crate) expires_at: UnixTime,
    /// Time from issue to expiry.
    pub(crate) lifetime: Duration,
}

/// Token as a response of the broker has it.
pub(crate) struct IssuedToken {
    pub(crate) access_token: Secret,
    pub(crate) token_type: Option<TokenType>,
    pub(crate) expires_in: Option<u64>,
}

impl AgentToken {
    /// Takes the token of a response. `asked_at` is the time before the request, and the broker counts whole seconds:
    /// the computed expiry is never later than the real one.
    ///
    /// The token's own claims give the lifetime if the response has none.
    pub(crate) fn from_response(
        request: &ApiRequest,
        issued: IssuedToken,
        asked_at: UnixTime,
    ) -> Result<Self, ClientError> {
        let IssuedToken { access_token: token, token_type, expires_in } = issued;
        let claims = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims()).ok();
        let expires_in = expires_in.or_else(|| claims.as_ref().map(|claims| claims.exp.saturating_sub(claims.iat)));
        let bound_to = claims.and_then(|claims| claims.cnf).map(|constraint| constraint.jkt);
        if token_type == Some(TokenType::Dpop) && bound_to.is_none() {
            return Err(
                request.malformed_with_secret("the token type is DPoP, but the token names no key", Some(token))
            );
        }
        match (authorization(&token, bound_to.is_some()), expires_in) {
            (Some(authorization), Some(expires_in)) => Ok(Self {
                authorization,
                token,
                bound_to,
                prover: None,
                expires_at: UnixTime::from_seconds(asked_at.seconds().saturating_add(expires_in)),
                lifetime: Duration::from_secs(expires_in),
            }),
            (None, _) => Err(request.malformed_with_secret("unusable access token", Some(token))),
            (Some(_), None) => {
                Err(request.malformed_with_secret("it does not say when the access token expires", Some(token)))
            }
        }
    }

    /// Gives a bound token its key, which signs the proofs. Returns false when it is bound to another key.
    #[must_use]
    pub(crate) fn accept_key(&mut self, key: &AgentKey, client: &Client) -> bool {
        match self.bound_to {
            None => true,
            Some(thumbprint) if thumbprint == key.thumbprint() => {
                let (clock, origins) = (Arc::clone(&client.clock), Arc::clone(&client.origins));
                self.prover = Some(Arc::new(Prover::new(key.clone(), self.token.clone(), clock, origins)));
                true
            }
            Some(_) => false,
        }
    }

    /// Returns the credentials of a request with the token; an error for a bound token without its key.
    pub(crate) fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        if self.bound_to.is_some() && self.prover.is_none() {
            return Err(ClientError::no_token("it is bound to a key that this process does not have"));
        }
        Ok(RequestCredentials::with_proofs(self.authorization.clone(), self.prover.clone()))
    }
}

/// Decodes an agent's token without verification; `field` names it in an error.
pub(crate) fn read_token(field: &'static str, token: Secret) -> Result<(AgentId, ScopeSet, AgentToken), ClientError> {
    let invalid = |reason: &str| ClientError::invalid(field, reason);
    let claims = UnverifiedToken::decode(token.expose()).and_then(|unverified| unverified.claims());
    let claims = claims.map_err(|error| invalid(error.reason()))?;
    let agent =
        claims.sub.as_agent().ok_or_else(|| invalid(&format!("it is for `{}`, not for an agent", claims.sub)))?;
    let bound_to = claims.cnf.map(|constraint| constraint.jkt);
    let authorization =
        authorization(&token, bound_to.is_some()).ok_or_else(|| invalid("it does not fit into a header"))?;
    let lifetime = Duration::from_secs(claims.exp.saturating_sub(claims.iat));
    let expires_at = UnixTime::from_seconds(claims.exp);
    let held = AgentToken { token, authorization, bound_to, prover: None, expires_at, lifetime };
    Ok((agent.clone(), claims.scope, held))
}
