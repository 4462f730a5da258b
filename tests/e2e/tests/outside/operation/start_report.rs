//! Log lines of a start, and their format.

use agentwrit_e2e::Broker;
use serde_json::{Value, json};

#[tokio::test]
async fn reports_version_paths_and_tls_mode_on_separate_lines() {
    let broker = Broker::start().await;
    let lines: Vec<String> = broker.output().lines().take(5).map(str::to_owned).collect();
    let directory = broker.directory().display();
    assert_eq!(
        lines,
        [
            format!("agentwrit-broker {}", env!("CARGO_PKG_VERSION")),
            "config file: none".to_owned(),
            format!("database: {directory}/data.db"),
            format!("signing key: {directory}/signing.key"),
            "TLS mode: none".to_owned(),
        ]
    );
}

#[tokio::test]
async fn writes_json_with_numbers_as_numbers_and_nothing_else() {
    let broker = Broker::start_with(&[("AA_LOG_FORMAT", "json")]).await;
    broker.get("/v1/health").await;
    let (stopped, directory) = broker.terminate().await;
    let events: Vec<Value> = stopped.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |message: &str| events.iter().find(|event| event["message"] == message).unwrap()["fields"].clone();
    let path = |file: &str| directory.path().join(file);
    assert_eq!(
        fields("starting"),
        json!({
            "version": env!("CARGO_PKG_VERSION"), "config_file": "none", "database": path("data.db"),
            "signing_key": path("signing.key"), "tls": "none",
        })
    );
    let request = fields("request");
    assert!(request["ms"].is_u64() && request["status"] == 200, "{request}");
}

#[tokio::test]
async fn accepts_usual_log_level_names() {
    let broker = Broker::start_with(&[("AA_LOG_LEVEL", "info")]).await;
    broker.get("/v1/health").header("x-request-id", "named-level").await;
    broker.says("request_id=named-level").await;
    for level in ["error", "warn", "info", "debug"] {
        let checked = Broker::run_in(broker.directory(), &[("AA_LOG_LEVEL", level)], &["check"]).await;
        assert_eq!(checked.output, "0 errors, 0 warnings\n", "{level}");
    }
}
