//! `POST /v1/token/renew`, `POST /v1/token/release` and `POST /v1/delegate`: what a holder does with its token.

use agentwrit_protocol::DelegationRequest;
use agentwrit_tower::{Rejection, Verified};
use agentwrit_verify::{AgentId, VerifyError};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    body::DrainedBody,
    client::Client,
    members::{JsonBody, Member, Scopes, Seconds, Text},
    parameters::NoParameters,
    problem::Failure,
};
use crate::service::Error;

pub(super) async fn renew(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<Json<Value>, Failure> {
    let issued = services.tokens.renew(verified.claims().clone(), client).await?;
    Ok(Json(json!({ "access_token": issued.access_token, "expires_in": issued.expires_in })))
}

pub(super) async fn release(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<StatusCode, Failure> {
    services.tokens.release(verified.claims().clone(), client).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delegate(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    body: JsonBody<DelegateRequest>,
) -> Result<Json<Value>, Failure> {
    let delegate_to = AgentId::parse(body.delegate_to.text("delegate_to")?)
        .map_err(|error| Error::invalid("delegate_to", error.to_string()))?;
    let scope = body.scope.scopes("scope")?;
    let ttl = body.ttl.clamped_lifetime("ttl")?;
    let delegation = DelegationRequest { delegate_to, scope, ttl };
    let (issued, chain) = services.delegations.delegate(verified.claims().clone(), delegation, client).await?;
    Ok(Json(json!({
        "access_token": issued.access_token, "expires_in": issued.expires_in, "delegation_chain": chain,
    })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DelegateRequest {
    delegate_to: Member<Text<{ AgentId::MAX_LENGTH }>>,
    scope: Member<Scopes>,
    ttl: Member<Seconds>,
}

/// A renewal that the token itself doesn't allow says the same as one that the authority refuses.
pub(super) async fn say_renewal_failed(response: Response) -> Response {
    let Some(rejection @ Rejection::InvalidToken(_)) = response.extensions().get::<Rejection>().cloned() else {
        return response;
    };
    let mut answer = Failure::Refused(Error::RenewalFailed).into_response();
    answer.extensions_mut().insert(rejection);
    answer
}

/// Releasing what was released or revoked is done already.
pub(super) async fn accept_released(response: Response) -> Response {
    match response.extensions().get::<Rejection>() {
        Some(Rejection::InvalidToken(VerifyError::Revoked { .. })) => {
            let mut done = Response::new(Body::empty());
            *done.status_mut() = StatusCode::NO_CONTENT;
            done
        }
        _ => response,
    }
}
