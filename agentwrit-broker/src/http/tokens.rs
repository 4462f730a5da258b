//! `POST /v1/token/validate`, `/v1/token/renew`, `/v1/token/release` and `POST /v1/delegate`.

use agentwrit_protocol::{
    DelegationRequest, DelegationResponse, Presented, RenewalResponse, ValidationRequest, ValidationResponse,
};
use agentwrit_tower::{Rejection, Verified};
use agentwrit_verify::{VerifyError, proof::ProofError};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::WWW_AUTHENTICATE};

use super::{
    Shared,
    body::{DrainedBody, JsonBody},
    client::Client,
    confirmed,
    errors::HttpError,
    proofs::{is_of_sender, used_proof},
    query::NoParameters,
};
use crate::service::{Bearer, Error};

/// Judges a token for clients that cannot verify offline. Writes nothing.
pub(super) async fn validate(
    State(services): State<Shared>,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<ValidationRequest>,
) -> Result<Json<ValidationResponse>, HttpError> {
    let Presented::WellFormed(token) = request.token else { return Ok(Json(ValidationResponse::invalid())) };
    confirmed::confirm_for(&services, token.expose()).await.map_err(Error::from)?;
    Ok(Json(match services.verifier.verify_without_proof(token.expose()) {
        Ok(claims) => ValidationResponse::valid(claims),
        Err(error) => {
            tracing::debug!(component = "validate", reason = error.reason(), "token not valid");
            ValidationResponse::invalid()
        }
    }))
}

pub(super) async fn renew(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<Json<RenewalResponse>, HttpError> {
    let issued = services.tokens.renew(verified.token().clone().into(), client).await?;
    Ok(Json(RenewalResponse {
        access_token: issued.access_token.into(),
        expires_in: Some(issued.expires_in),
        token_type: issued.token_type,
    }))
}

pub(super) async fn release(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    _: DrainedBody,
) -> Result<StatusCode, HttpError> {
    services.tokens.release(verified.token().clone().into(), client).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delegate(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<DelegationRequest>,
) -> Result<Response, HttpError> {
    let bearer = Bearer::from(verified.token().clone()).with_proof(used_proof(&verified)?);
    match services.delegations.delegate(bearer, request, client).await {
        Ok((issued, chain)) => Ok(Json(DelegationResponse {
            access_token: issued.access_token.into(),
            expires_in: Some(issued.expires_in),
            token_type: issued.token_type,
            delegation_chain: Some(chain),
        })
        .into_response()),
        Err(Error::ProofReplayed) => Ok(reject_replay(&verified)),
        Err(error) => Err(error.into()),
    }
}

/// Rejects a proof that another broker accepted before; audited and counted as one that this broker accepted.
fn reject_replay(verified: &Verified) -> Response {
    let (error, subject) = (ProofError::Replayed, verified.subject().clone());
    let error = VerifyError::Proof { error, subject, token_id: verified.token_id() };
    let mut response = HttpError::Service(Error::ProofReplayed).into_response();
    response.extensions_mut().insert(Rejection::InvalidToken(error));
    response
}

/// Rejects a renewal with an invalid token in the same words as one that the service rejects.
pub(super) async fn reject_renewal(response: Response) -> Response {
    let Some(rejection @ Rejection::InvalidToken(error)) = response.extensions().get::<Rejection>() else {
        return response;
    };
    if is_of_sender(error) {
        // The token is valid: its holder learns how to present it.
        return response;
    }
    let mut rejected = HttpError::Service(Error::RenewalFailed).into_response();
    rejected.extensions_mut().insert(rejection.clone());
    rejected.headers_mut().remove(WWW_AUTHENTICATE);
    let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter().cloned();
    rejected.headers_mut().extend(challenges.map(|challenge| (WWW_AUTHENTICATE, challenge)));
    rejected
}

/// Accepts the release of a token that was released or revoked before.
pub(super) async fn accept_released(response: Response) -> Response {
    match response.extensions().get::<Rejection>() {
        Some(Rejection::InvalidToken(VerifyError::Revoked { .. })) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => response,
    }
}
