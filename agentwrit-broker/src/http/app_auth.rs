//! `POST /v1/app/auth`.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    client::Client,
    members::{JsonBody, Member, Text},
    parameters::NoParameters,
    problem::Failure,
};
use crate::{issuer::Issued, service::login::APP_SCOPES};

pub(super) async fn authenticate(
    State(services): State<Shared>,
    Client(client): Client,
    _: NoParameters,
    body: JsonBody<AppAuthRequest>,
) -> Result<Json<Value>, Failure> {
    let client_id = body.client_id.text("client_id")?.to_owned();
    let secret = body.client_secret.secret("client_secret")?;
    let Issued { access_token, expires_in } = services.logins.authenticate_app(client, client_id, secret).await?;
    Ok(Json(json!({
        "access_token": access_token, "expires_in": expires_in, "token_type": "Bearer", "scopes": APP_SCOPES,
    })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AppAuthRequest {
    client_id: Member<Text<128>>,
    client_secret: Member<Text<1024>>,
}
