//! `GET /v1/challenge`, `POST /v1/register`, and the list `GET /v1/app/agents`.

use agentwrit_protocol::{
    AgentRecord, AgentStatus, ChallengeResponse, Hex, ListResponse, Page, RegistrationRequest, RegistrationResponse,
};
use agentwrit_verify::{PathSegment, UnixTime};
use axum::{Json, extract::State};

use super::{
    Shared,
    body::JsonBody,
    client::{CallingApp, Client},
    errors::HttpError,
    proofs::RegistrationProof,
    query::{NoParameters, Parameters, list_response},
};
use crate::{
    domain,
    issuer::{Issued, nonce::Nonces},
    service::Error,
    store::AgentFilter,
};

pub(super) async fn challenge(State(services): State<Shared>, _: NoParameters) -> Json<ChallengeResponse> {
    let nonce = Hex(services.challenges.issue());
    Json(ChallengeResponse { nonce, expires_in: Some(Nonces::LIFETIME.as_secs()) })
}

pub(super) async fn register(
    State(services): State<Shared>,
    Client(client): Client,
    RegistrationProof(proof): RegistrationProof,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<RegistrationRequest>,
) -> Result<Json<RegistrationResponse>, HttpError> {
    let (agent_id, issued) = services.registrations.register(request, proof, client).await?;
    let Issued { access_token, expires_in, token_type } = issued;
    let (access_token, expires_in) = (access_token.into(), Some(expires_in));
    Ok(Json(RegistrationResponse { agent_id, access_token, expires_in, token_type }))
}

pub(super) async fn list_own(
    State(services): State<Shared>,
    CallingApp(app_id): CallingApp,
    parameters: Parameters,
) -> Result<Json<ListResponse<AgentRecord>>, HttpError> {
    parameters.only(&Page::PARAMETERS)?;
    let page = parameters.page()?;
    let filter = AgentFilter { app_id: Some(app_id), ..AgentFilter::default() };
    let (agents, total) = services.ledger.read(move |reader| Ok::<_, Error>(reader.agents(&filter, &page)?)).await?;
    let now = services.ledger.now();
    // Members of the operator's list only.
    let own = |agent| {
        agent_record(agent, now).map(|record| AgentRecord {
            app_id: None,
            revoked_at: None,
            sender_constrained: false,
            ..record
        })
    };
    let entries = agents.into_iter().map(|(cursor, agent)| Ok((cursor, own(agent)?)));
    Ok(Json(list_response(entries.collect::<Result<Vec<_>, HttpError>>()?, total, &page)))
}

/// Describes an agent.
pub(super) fn agent_record(agent: domain::RegisteredAgent, now: UnixTime) -> Result<AgentRecord, HttpError> {
    let status = if agent.revoked_at.is_some() {
        AgentStatus::Revoked
    } else if agent.expires_at <= now {
        AgentStatus::Expired
    } else {
        AgentStatus::Active
    };
    let segment = |text: &str| {
        PathSegment::parse(text)
            .map_err(|error| HttpError::Defect { cause: format!("an agent id holds `{text}`: {error}") })
    };
    Ok(AgentRecord {
        orch_id: segment(agent.agent_id.orch_id())?,
        task_id: segment(agent.agent_id.task_id())?,
        agent_id: agent.agent_id,
        scope: agent.scope,
        registered_at: agent.registered_at,
        expires_at: agent.expires_at,
        status: Some(status),
        revoked_at: agent.revoked_at,
        app_id: agent.app_id,
        sender_constrained: agent.sender_constrained,
    })
}
