//! `POST /v1/admin/auth`.

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
use crate::issuer::Issued;

pub(super) async fn authenticate(
    State(services): State<Shared>,
    Client(client): Client,
    _: NoParameters,
    body: JsonBody<AdminAuthRequest>,
) -> Result<Json<Value>, Failure> {
    if !body.secret.is_given() && body.client_secret.is_given() {
        let hint = "send {\"secret\": \"…\"}; client_id and client_secret are for `POST /v1/app/auth`";
        return Err(Failure::BadBodyWithHint { detail: String::from("secret: is required"), hint });
    }
    let secret = body.secret.secret("secret")?;
    let Issued { access_token, expires_in } = services.logins.authenticate_admin(client, secret).await?;
    Ok(Json(json!({ "access_token": access_token, "expires_in": expires_in, "token_type": "Bearer" })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AdminAuthRequest {
    secret: Member<Text<1024>>,
    /// What another endpoint takes: a common mistake.
    client_secret: Member<Text<0>>,
}
