//! `POST /v1/admin/launch-tokens` and `POST /v1/app/launch-tokens`: the token's subject decides whose it is.

use agentwrit_tower::Verified;
use axum::{Json, extract::State};
use http::StatusCode;
use serde_json::{Value, json};

use super::{Shared, client::Client, members::Members, problem::Failure};
use crate::service::{Error, launch_tokens::LaunchPolicy};

pub(super) async fn issue(
    State(authority): State<Shared>,
    Client(client): Client,
    verified: Verified,
    body: Members,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let creator = verified.subject().clone();
    let policy = read(&body).inspect_err(|error| authority.deny_launch_token(&creator, error, client))?;
    let (token, secret) = authority.issue_launch_token(creator, policy, client).await?;
    let answer = json!({
        "launch_token": secret.expose(),
        "launch_token_id": token.id.to_string(),
        "expires_at": token.expires_at,
        "policy": { "allowed_scope": token.allowed_scope, "max_ttl": token.max_ttl },
    });
    Ok((StatusCode::CREATED, Json(answer)))
}

fn read(body: &Members) -> Result<LaunchPolicy, Error> {
    Ok(LaunchPolicy {
        agent_name: body.text("agent_name", 256)?.to_owned(),
        allowed_scope: body.scopes("allowed_scope")?,
        max_ttl: body.lifetime("max_ttl", 1, 86_400)?,
        single_use: body.flag("single_use")?.unwrap_or(true),
        ttl: body.lifetime("ttl", 1, 3600)?.unwrap_or(30),
        orch_id: body.optional_segment("orch_id")?,
        task_id: body.optional_segment("task_id")?,
    })
}
