//! `GET /v1/challenge`: a nonce to sign. Nothing is stored.

use axum::{Json, extract::State};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{Shared, parameters::NoParameters};
use crate::{entropy::random, nonce::Nonces};

pub(super) async fn issue(State(authority): State<Shared>, _: NoParameters) -> Json<Value> {
    let now = authority.nonce_time.now(authority.clock.as_ref());
    let nonce = authority.nonces.issue(now, random(authority.entropy.as_ref()));
    Json(json!({ "nonce": HEXLOWER.encode(&nonce), "expires_in": Nonces::LIFETIME.as_secs() }))
}
