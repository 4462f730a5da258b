//! `awrit health`.

use agentwrit_e2e::{Broker, awrit};
use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::test]
async fn reports_healthy_broker() {
    let broker = Broker::start().await;
    let environment = [("AACTL_BROKER_URL", broker.url.as_str())];
    awrit(broker.directory(), &environment, &["health"], "").await.is(
        0,
        &format!(
            "broker  <broker>\nstatus  ok\nversion  {}\nuptime  <when>\nstore  writable\naudit events  0",
            env!("CARGO_PKG_VERSION")
        ),
        "",
    );
    let health = broker.awrit(&["health", "--json"]).await.json();
    assert_eq!(health["db_connected"], true);
}

#[tokio::test]
async fn exits_with_3_when_broker_cannot_write() {
    let health = || async {
        let body = json!({
            "status": "unavailable", "version": "0.1.0", "uptime": 7500, "db_connected": false,
            "audit_events_count": 12_345,
        });
        (StatusCode::SERVICE_UNAVAILABLE, Json(body))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/health", get(health))).await });
    let directory = tempfile::tempdir().unwrap();
    awrit(directory.path(), &[], &["health", "--broker", &url], "").await.is(
        3,
        "\
broker  <broker>
status  unavailable
version  0.1.0
uptime  <when>
store  not writable
audit events  12,345",
        "awrit: the broker cannot serve",
    );
}

#[tokio::test]
async fn exits_with_1_when_broker_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    awrit(directory.path(), &[], &["health", "--broker", "http://127.0.0.1:1"], "").await.is(
        1,
        "",
        "\
awrit: broker cannot be reached: Connection refused (os error 111)
  hint: is the broker running, and is --broker or AACTL_BROKER_URL its address?",
    );
}
