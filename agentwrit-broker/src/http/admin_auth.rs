//! `POST /v1/admin/auth`.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Shared, client::Client, members::Members, problem::Failure};
use crate::authority::Issued;

pub(super) async fn authenticate(
    State(authority): State<Shared>,
    Client(client): Client,
    body: Members,
) -> Result<Json<Value>, Failure> {
    if !body.has("secret") && body.has("client_secret") {
        let hint = "send {\"secret\": \"…\"}; client_id and client_secret are for `POST /v1/app/auth`";
        return Err(Failure::BadBodyWithHint { detail: String::from("secret: is required"), hint });
    }
    let secret = body.secret("secret", 1024)?;
    let Issued { access_token, expires_in } = authority.authenticate_admin(client, secret).await?;
    Ok(Json(json!({ "access_token": access_token, "expires_in": expires_in, "token_type": "Bearer" })))
}
