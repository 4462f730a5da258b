//! `GET /v1/health`, `GET /v1/metrics` and `GET /v1/openapi.json`.

use std::time::Duration;

use agentwrit_protocol::HealthResponse;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::time::timeout;

use super::{Shared, query::NoParameters};
use crate::{clock::ClockWarning, store::StoreError, telemetry::metrics::Metrics};

/// Description of the API, OpenAPI 3.1, written by hand. The tests compare it with the types of agentwrit-protocol and
/// with every response.
pub(super) const OPENAPI: &str = include_str!("../../openapi.json");

/// Time within which the store has to respond: balancers and service managers wait for 5 s.
const HEALTH_LIMIT: Duration = Duration::from_secs(4);

/// Reports whether the broker can serve, at constant cost whatever the length of the trail.
pub(crate) async fn health(State(services): State<Shared>) -> Response {
    let ledger = &services.ledger;
    let checking = async {
        let events = ledger.store.count_audit_events().await?;
        // After the read, which may take long: the last write is a second old at most when the response is made.
        ledger.store.probe().await?;
        Ok::<_, StoreError>(events)
    };
    let events = timeout(HEALTH_LIMIT, checking).await.ok().and_then(Result::ok);
    let healthy = events.is_some();
    let response = HealthResponse {
        status: if healthy { HealthResponse::OK } else { HealthResponse::UNAVAILABLE }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: services.uptime().as_secs(),
        db_connected: healthy,
        audit_events_count: events.unwrap_or_default(),
        warnings: warnings(&services).into_iter().map(str::to_owned).collect(),
    };
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(response)).into_response()
}

/// Returns what an operator should look at although the broker serves.
fn warnings(services: &Shared) -> Vec<&'static str> {
    let of_clock = services.ledger.clock_monitor.warnings(services.ledger.clock.as_ref());
    of_clock.into_iter().map(ClockWarning::as_str).chain(services.keys.warnings()).collect()
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
    let held = services.ledger.clock_monitor.held(clock);
    let offset = services.ledger.store.clock_offset();
    services.metrics.set_clock(behind.unwrap_or_default(), held.unwrap_or_default(), offset);
    services.metrics.set_health_warnings(warnings(&services));
    services.verifiers.measure();
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], services.metrics.encode()).into_response()
}

pub(super) async fn openapi(_: NoParameters) -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
