//! `GET /v1/challenge`: a nonce to sign. Nothing is stored.

use axum::{Json, extract::State};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{Shared, parameters::NoParameters};
use crate::issuer::nonce::Nonces;

pub(super) async fn issue(State(services): State<Shared>, _: NoParameters) -> Json<Value> {
    let nonce = services.challenges.issue();
    Json(json!({ "nonce": HEXLOWER.encode(&nonce), "expires_in": Nonces::LIFETIME.as_secs() }))
}
