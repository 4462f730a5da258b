//! `POST /v1/register`.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Shared, client::Client, members::Members, problem::Failure};
use crate::service::{Error, registration::Registration};

pub(super) async fn register(
    State(authority): State<Shared>,
    Client(client): Client,
    body: Members,
) -> Result<Json<Value>, Failure> {
    let (agent_id, issued) = authority.register(read(&body)?, client).await?;
    Ok(Json(json!({
        "agent_id": agent_id, "access_token": issued.access_token, "expires_in": issued.expires_in,
    })))
}

fn read(body: &Members) -> Result<Registration, Error> {
    Ok(Registration {
        launch_token: body.secret("launch_token", 128)?,
        nonce: body.text("nonce", 128)?.to_owned(),
        public_key: body.text("public_key", 512)?.to_owned(),
        signature: body.text("signature", 512)?.to_owned(),
        orch_id: body.segment("orch_id")?,
        task_id: body.segment("task_id")?,
        requested_scope: body.scopes("requested_scope")?,
    })
}
