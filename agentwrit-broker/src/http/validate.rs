//! `POST /v1/token/validate`: for clients that can't verify offline. Writes nothing.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Shared, members::Members, problem::Failure};

pub(super) async fn validate(State(authority): State<Shared>, body: Members) -> Result<Json<Value>, Failure> {
    // As long as a body may be: a token that is too long is an invalid token, not a malformed request.
    let token = body.text("token", usize::MAX)?;
    Ok(Json(match authority.verify(token) {
        Ok(claims) => json!({ "valid": true, "claims": *claims }),
        Err(error) => {
            tracing::debug!(component = "validate", reason = error.reason(), "token not valid");
            json!({ "valid": false, "error": "token is invalid or expired" })
        }
    }))
}
