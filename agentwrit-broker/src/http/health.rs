//! `GET /v1/health` and `GET /v1/metrics`.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use super::Shared;
use crate::{service::Error, telemetry::metrics::Metrics};

/// Constant cost, whatever the length of the trail. 503 when the store can't be written.
pub(super) async fn health(State(authority): State<Shared>) -> Response {
    let writable = authority.store.probe().await.is_ok();
    let events = authority.store.read(|reader| Ok::<_, Error>(reader.audit_total()?)).await;
    let healthy = writable && events.is_ok();
    let body = Json(json!({
        "status": if healthy { "ok" } else { "unavailable" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": authority.uptime().as_secs(),
        "db_connected": healthy,
        "audit_events_count": events.unwrap_or_default(),
    }));
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, body).into_response()
}

pub(super) async fn metrics(State(authority): State<Shared>) -> Response {
    if authority.count_agents().await.is_err() {
        authority.metrics.db_error("read");
    }
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], authority.metrics.encode()).into_response()
}
