//! `GET /v1/health` and `GET /v1/metrics`.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;

use super::{Shared, parameters::NoParameters};
use crate::{clock::ClockWarning, service::Error, telemetry::metrics::Metrics};

/// What is wrong with the clock is in `warnings`, which is left out when nothing is. Constant cost, whatever the length of the trail. 503 when the store can't be written.
pub(crate) async fn health(State(services): State<Shared>) -> Response {
    let writable = services.ledger.store.probe().await.is_ok();
    let events = services.ledger.read(|reader| Ok::<_, Error>(reader.audit_total()?)).await;
    let healthy = writable && events.is_ok();
    let mut body = json!({
        "status": if healthy { "ok" } else { "unavailable" },
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": services.uptime().as_secs(),
        "db_connected": healthy,
        "audit_events_count": events.unwrap_or_default(),
    });
    let warnings = services.ledger.clock_monitor.warnings(services.ledger.clock.as_ref());
    if let Some(members) = body.as_object_mut().filter(|_| !warnings.is_empty()) {
        let warnings: Vec<_> = warnings.into_iter().map(ClockWarning::as_str).collect();
        members.insert(String::from("warnings"), json!(warnings));
    }
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

pub(super) async fn health_endpoint(services: State<Shared>, _: NoParameters) -> Response {
    health(services).await
}

pub(super) async fn metrics(State(services): State<Shared>, _: NoParameters) -> Response {
    if services.active_agents.count().await.is_err() {
        services.metrics.db_error("read");
    }
    let clock = services.ledger.clock.as_ref();
    let behind = services.ledger.clock_monitor.behind_records(clock.now());
    services
        .metrics
        .set_clock(behind.unwrap_or_default(), services.ledger.clock_monitor.held(clock).unwrap_or_default());
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], services.metrics.encode()).into_response()
}
