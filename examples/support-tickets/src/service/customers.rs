//! `/customers/{customer_id}`: profile, balance, refunds, notes and deletion of one customer.

use axum::{
    Json,
    extract::{Path, State},
};
use demo_common::service::{Object, ServiceError};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Service;
use crate::store::{Balance, Customer, Note, Refund};

/// Maximum length of a note, in bytes.
const MAX_NOTE: usize = 2 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRefund {
    ticket_id: String,
    amount_cents: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNote {
    text: String,
}

pub(super) async fn show(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Customer>, ServiceError> {
    Ok(Json(service.store.customer(&id)?))
}

pub(super) async fn balance(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Balance>, ServiceError> {
    Ok(Json(service.store.balance(&id)?))
}

pub(super) async fn refund(
    State(service): State<Service>,
    Path(id): Path<String>,
    Object(refund): Object<NewRefund>,
) -> Result<(StatusCode, Json<Refund>), ServiceError> {
    let refund = service.store.refund(&id, &refund.ticket_id, refund.amount_cents)?;
    Ok((StatusCode::CREATED, Json(refund)))
}

pub(super) async fn notes(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Vec<Note>>, ServiceError> {
    Ok(Json(service.store.notes(&id)?))
}

pub(super) async fn add_note(
    State(service): State<Service>,
    Path(id): Path<String>,
    Object(note): Object<NewNote>,
) -> Result<(StatusCode, Json<Note>), ServiceError> {
    if note.text.trim().is_empty() || note.text.len() > MAX_NOTE {
        return Err(ServiceError::invalid(format!("`text` is a note of 1 to {MAX_NOTE} bytes")));
    }
    Ok((StatusCode::CREATED, Json(service.store.add_note(&id, note.text)?)))
}

pub(super) async fn delete(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ServiceError> {
    service.store.delete(&id)?;
    Ok(Json(json!({"deleted": id})))
}
