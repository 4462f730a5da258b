//! `POST /v1/app/auth`.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Shared, client::Client, members::Members, problem::Failure};
use crate::{authority::Issued, service::app_auth::APP_SCOPES};

pub(super) async fn authenticate(
    State(authority): State<Shared>,
    Client(client): Client,
    body: Members,
) -> Result<Json<Value>, Failure> {
    let client_id = body.text("client_id", 128)?.to_owned();
    let secret = body.secret("client_secret", 1024)?;
    let Issued { access_token, expires_in } = authority.authenticate_app(client, client_id, secret).await?;
    Ok(Json(json!({
        "access_token": access_token, "expires_in": expires_in, "token_type": "Bearer", "scopes": APP_SCOPES,
    })))
}
