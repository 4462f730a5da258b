//! [`Verified`], [`Agent`] and [`GrantedIdentifiers`] as axum extractors.

use std::convert::Infallible;
use std::ops::Deref;

use agentwrit_verify::AgentId;
use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::Full;

use crate::access_policy::outer_rejection_options;
use crate::error_response;
use crate::granted_identifiers::GrantedIdentifiers;
use crate::rejection::{Misconfiguration, Rejection};
use crate::verified::{Unauthenticated, Verified};

/// Extractor of the agent that the request's token was issued to. Tokens of other subjects (apps, administrators) are
/// rejected with 403; `Option<Agent>` is then `None`.
///
/// ```
/// use agentwrit_tower::Agent;
///
/// async fn handler(Agent(agent): Agent) -> String {
///     format!("{agent}, working on {}", agent.task_id())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "handlers take it apart in their arguments")]
pub struct Agent(pub AgentId);

impl Deref for Agent {
    type Target = AgentId;

    fn deref(&self) -> &AgentId {
        &self.0
    }
}

/// Rejection of an extractor: the response, and the reason for it.
///
/// Without the layer that an extractor needs, the response is 500, and an error in the log names the layer.
#[derive(Debug, thiserror::Error)]
#[error("{rejection}")]
pub struct RejectionResponse {
    rejection: Rejection,
    // Rendered while the request is available: the problem names its path and its id.
    response: Box<http::Response<Full<Bytes>>>,
}

impl RejectionResponse {
    /// Returns the reason.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }

    pub(crate) fn new(rejection: Rejection, head: &Parts) -> Self {
        let rejection_options = outer_rejection_options(head).cloned().unwrap_or_default();
        let response = error_response::respond(rejection.clone(), head, &rejection_options);
        Self { rejection, response: Box::new(response) }
    }
}

impl IntoResponse for RejectionResponse {
    fn into_response(self) -> Response {
        self.response.map(Body::new)
    }
}

/// Rejects requests without a token with 401, beneath an [optional](crate::Authenticate::optional) layer.
impl<S: Sync> FromRequestParts<S> for Verified {
    type Rejection = RejectionResponse;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, RejectionResponse> {
        claims(head).cloned().map_err(|rejection| RejectionResponse::new(rejection, head))
    }
}

/// Extracts `None` when no layer around the handler verified a token.
impl<S: Sync> OptionalFromRequestParts<S> for Verified {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(head.extensions.get::<Self>().cloned())
    }
}

impl<S: Sync> FromRequestParts<S> for Agent {
    type Rejection = RejectionResponse;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, RejectionResponse> {
        let agent = claims(head).and_then(|verified| {
            let agent = verified.agent_id().cloned();
            agent.map(Agent).ok_or_else(|| Rejection::NotAnAgent(verified.clone()))
        });
        agent.map_err(|rejection| RejectionResponse::new(rejection, head))
    }
}

/// Extracts `None` when no layer around the handler verified a token, or the token's subject is not an agent.
impl<S: Sync> OptionalFromRequestParts<S> for Agent {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(head.extensions.get::<Verified>().and_then(|verified| verified.agent_id().cloned()).map(Agent))
    }
}

impl<S: Sync> FromRequestParts<S> for GrantedIdentifiers {
    type Rejection = RejectionResponse;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, RejectionResponse> {
        let granted = head.extensions.get::<Self>().cloned();
        granted.ok_or_else(|| RejectionResponse::new(Misconfiguration::NoGrantedIdentifiers.into(), head))
    }
}

/// Returns the claims that a layer inserted into the request's extensions.
pub(crate) fn claims(head: &Parts) -> Result<&Verified, Rejection> {
    match head.extensions.get::<Verified>() {
        Some(verified) => Ok(verified),
        None if head.extensions.get::<Unauthenticated>().is_some() => Err(crate::CredentialsError::Missing.into()),
        None => Err(Misconfiguration::NoClaims.into()),
    }
}
