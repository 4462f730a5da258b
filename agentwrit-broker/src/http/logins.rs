//! `POST /v1/admin/auth` and `POST /v1/app/auth`.

use agentwrit_protocol::{AdminAuthRequest, AppAuthRequest, AuthResponse, TokenType};
use agentwrit_verify::ScopeSet;
use axum::{Json, extract::State};

use super::{Shared, body::JsonBody, client::Client, errors::HttpError, query::NoParameters};
use crate::{issuer::Issued, service::login::APP_SCOPES};

pub(super) async fn admin(
    State(services): State<Shared>,
    Client(client): Client,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<AdminAuthRequest>,
) -> Result<Json<AuthResponse>, HttpError> {
    let issued = services.logins.authenticate_admin(client, request.secret).await?;
    Ok(Json(response(issued, None)))
}

pub(super) async fn app(
    State(services): State<Shared>,
    Client(client): Client,
    _: NoParameters,
    JsonBody(request, _place): JsonBody<AppAuthRequest>,
) -> Result<Json<AuthResponse>, HttpError> {
    let issued = services.logins.authenticate_app(client, request.client_id, request.client_secret).await?;
    Ok(Json(response(issued, ScopeSet::parse(APP_SCOPES).ok())))
}

fn response(issued: Issued, scopes: Option<ScopeSet>) -> AuthResponse {
    AuthResponse {
        access_token: issued.access_token.into(),
        expires_in: issued.expires_in,
        token_type: Some(TokenType::Bearer),
        scopes,
    }
}
