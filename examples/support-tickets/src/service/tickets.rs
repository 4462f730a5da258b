//! `/tickets/{ticket_id}`: one ticket, and the customer whose authenticated address sent it.

use axum::{
    Json,
    extract::{Path, State},
};
use demo_common::service::ServiceError;

use super::Service;
use crate::store::{SenderCheck, Ticket};

pub(super) async fn show(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Ticket>, ServiceError> {
    Ok(Json(service.store.ticket(&id)?))
}

pub(super) async fn sender(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<SenderCheck>, ServiceError> {
    Ok(Json(service.store.check_sender(&id)?))
}
