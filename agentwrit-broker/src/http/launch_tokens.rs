//! `/v1/admin/launch-tokens` and `POST /v1/app/launch-tokens`: the token's subject decides whose a launch token is.

use agentwrit_tower::Verified;
use agentwrit_verify::{AppId, PathSegment, ScopeSet, Subject, UnixTime};
use axum::{Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Shared,
    client::Client,
    lists,
    members::{JsonBody, Member, Scopes, Seconds, Segment, Text},
    parameters::{Id, NoParameters, Parameters},
    problem::Failure,
};
use crate::{
    domain::{LaunchToken, LaunchTokenId},
    service::{Error, launch_tokens::LaunchPolicy},
};

pub(super) async fn issue(
    State(services): State<Shared>,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
    body: Result<JsonBody<LaunchTokenRequest>, Failure>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let creator = verified.subject().clone();
    let body = body.inspect_err(|failure| services.launch_tokens.deny(&creator, &failure.as_error(), client))?;
    let policy = body.read(&creator).inspect_err(|error| services.launch_tokens.deny(&creator, error, client))?;
    let (token, secret) = services.launch_tokens.issue(creator, Some(verified.token_id()), policy, client).await?;
    let answer = json!({
        "launch_token": secret.expose(),
        "launch_token_id": token.id.to_string(),
        "expires_at": token.expires_at,
        "policy": { "allowed_scope": token.allowed_scope, "max_ttl": token.max_ttl },
    });
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(super) async fn list(State(services): State<Shared>, parameters: Parameters) -> Result<Json<Value>, Failure> {
    parameters.only(&["limit", "offset", "cursor"])?;
    let page = parameters.page()?;
    let now = services.ledger.now();
    let (tokens, total) = services.ledger.read(move |reader| Ok::<_, Error>(reader.launch_tokens(now, &page)?)).await?;
    let entries = tokens.iter().map(|(cursor, token)| (*cursor, json!(LaunchTokenView::of(token)))).collect();
    Ok(Json(lists::answer("launch_tokens", entries, total, &page)))
}

pub(super) async fn delete(
    State(services): State<Shared>,
    Id(id): Id,
    Client(client): Client,
    verified: Verified,
    _: NoParameters,
) -> Result<StatusCode, Failure> {
    let id = LaunchTokenId::parse(&id).map_err(|_| Error::NoSuchLaunchToken)?;
    services.launch_tokens.delete(verified.subject().clone(), Some(verified.token_id()), id, client).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A launch token as operators see it: its name, not itself.
#[derive(Serialize)]
struct LaunchTokenView<'a> {
    launch_token_id: String,
    agent_name: &'a str,
    allowed_scope: &'a ScopeSet,
    max_ttl: u64,
    single_use: bool,
    created_at: UnixTime,
    expires_at: UnixTime,
    created_by: &'a Subject,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a AppId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orch_id: Option<&'a PathSegment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a PathSegment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_at: Option<UnixTime>,
}

impl<'a> LaunchTokenView<'a> {
    fn of(token: &'a LaunchToken) -> Self {
        Self {
            launch_token_id: token.id.to_string(),
            agent_name: &token.agent_name,
            allowed_scope: &token.allowed_scope,
            max_ttl: token.max_ttl,
            single_use: token.single_use,
            created_at: token.created_at,
            expires_at: token.expires_at,
            created_by: &token.created_by,
            app_id: token.app_id.as_ref(),
            orch_id: token.orch_id.as_ref(),
            task_id: token.task_id.as_ref(),
            consumed_at: token.consumed_at,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LaunchTokenRequest {
    // Clients name an agent `<orch_id>/<task_id>` by default: 257 bytes at the longest.
    agent_name: Member<Text<512>>,
    allowed_scope: Member<Scopes>,
    max_ttl: Member<Seconds>,
    single_use: Member<bool>,
    ttl: Member<Seconds>,
    orch_id: Member<Segment>,
    task_id: Member<Segment>,
}

impl LaunchTokenRequest {
    fn read(&self, creator: &Subject) -> Result<LaunchPolicy, Error> {
        Ok(LaunchPolicy {
            agent_name: self.agent_name.text("agent_name")?.to_owned(),
            allowed_scope: match creator {
                Subject::App(_) => self.allowed_scope.scopes_within_ceiling("allowed_scope")?,
                Subject::Admin | Subject::Agent(_) => self.allowed_scope.scopes("allowed_scope")?,
            },
            max_ttl: self.max_ttl.lifetime("max_ttl", 1, 86_400)?,
            single_use: self.single_use.flag("single_use")?.unwrap_or(true),
            ttl: self.ttl.lifetime("ttl", 1, 3600)?.unwrap_or(30),
            orch_id: self.orch_id.optional_segment("orch_id")?,
            task_id: self.task_id.optional_segment("task_id")?,
        })
    }
}
