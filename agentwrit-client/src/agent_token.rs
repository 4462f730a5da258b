//! Token of an agent: from a response of the broker, or from a text.

use std::time::Duration;

use agentwrit_protocol::Secret;
use agentwrit_verify::{AgentId, ScopeSet, UnixTime, UnverifiedToken};
use http::HeaderValue;

use crate::{error::ClientError, request::ApiRequest};

/// Token of an agent.
#[derive(Clone)]
pub(crate) struct AgentToken {
    pub(crate) token: Secret,
    pub(crate) authorization: HeaderValue,
    pub(crate) expires_at: UnixTime,
    /// Time from issue to expiry.
    pub(crate) lifetime: Duration,
}

impl AgentToken {
    /// Takes the token of a response. `asked_at` is the time before the request, and the broker counts whole seconds:
    /// the computed expiry is never later than the real one.
    ///
    /// The token's own claims give the lifetime if the response has none.
    pub(crate) fn from_response(
        request: &ApiRequest,
        token: Secret,
        asked_at: UnixTime,
        expires_in: Option<u64>,
    ) -> Result<Self, ClientError> {
        let expires_in = expires_in.or_else(|| lifetime(&token));
        match (bearer(&token), expires_in) {
            (Some(authorization), Some(expires_in)) => Ok(Self {
                authorization,
                token,
                expires_at: UnixTime::from_seconds(asked_at.seconds().saturating_add(expires_in)),
                lifetime: Duration::from_secs(expires_in),
            }),
            (None, _) => Err(request.malformed_with_secret("unusable access token", Some(token))),
            (Some(_), None) => {
                Err(request.malformed_with_secret("it does not say when the access token expires", Some(token)))
            }
        }
    }
}

/// Returns the seconds from a token's `iat` to its `exp`.
fn lifetime(token: &Secret) -> Option<u64> {
    let claims = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims()).ok()?;
    Some(claims.exp.saturating_sub(claims.iat))
}

/// Decodes an agent's token without verification; `field` names it in an error.
pub(crate) fn read_token(field: &'static str, token: Secret) -> Result<(AgentId, ScopeSet, AgentToken), ClientError> {
    let invalid = |reason: &str| ClientError::invalid(field, reason);
    let claims = UnverifiedToken::decode(token.expose()).and_then(|unverified| unverified.claims());
    let claims = claims.map_err(|error| invalid(error.reason()))?;
    let agent =
        claims.sub.as_agent().ok_or_else(|| invalid(&format!("it is for `{}`, not for an agent", claims.sub)))?;
    let authorization = bearer(&token).ok_or_else(|| invalid("it does not fit into a header"))?;
    let lifetime = Duration::from_secs(claims.exp.saturating_sub(claims.iat));
    let held = AgentToken { token, authorization, expires_at: UnixTime::from_seconds(claims.exp), lifetime };
    Ok((agent.clone(), claims.scope, held))
}

/// Returns the `Authorization` header for `token`: hidden in `Debug`, never indexed by HPACK, wiped with its last
/// clone.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let credentials = zeroize::Zeroizing::new(format!("Bearer {}", token.expose()).into_bytes());
    let mut header = HeaderValue::from_maybe_shared(bytes::Bytes::from_owner(credentials)).ok()?;
    header.set_sensitive(true);
    Some(header)
}
