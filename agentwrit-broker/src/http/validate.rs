//! `POST /v1/token/validate`: for clients that can't verify offline. Writes nothing.

use agentwrit_verify::MAX_TOKEN_LENGTH;
use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    members::{JsonBody, Member, Text},
    parameters::NoParameters,
    problem::Failure,
};

pub(super) async fn validate(
    State(services): State<Shared>,
    _: NoParameters,
    body: JsonBody<ValidateRequest>,
) -> Result<Json<Value>, Failure> {
    if body.token.is_too_long() {
        // An invalid token, not a malformed request.
        return Ok(Json(invalid()));
    }
    let token = body.token.text("token")?;
    Ok(Json(match services.verifier.verify(token) {
        Ok(claims) => json!({ "valid": true, "claims": *claims }),
        Err(error) => {
            tracing::debug!(component = "validate", reason = error.reason(), "token not valid");
            invalid()
        }
    }))
}

fn invalid() -> Value {
    json!({ "valid": false, "error": "token is invalid or expired" })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ValidateRequest {
    token: Member<Text<MAX_TOKEN_LENGTH>>,
}
