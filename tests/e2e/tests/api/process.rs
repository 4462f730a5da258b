//! The process: start, end, and what it writes.

use std::os::unix::fs::PermissionsExt as _;

use agentwrit_e2e::{ADMIN_SECRET, Broker};
use serde_json::json;

#[tokio::test]
async fn refuses_start_without_strong_admin_secret() {
    for secret in ["", "short", "fifteen-chars-x", "change-me-in-production"] {
        let stopped = Broker::refuses_to_start(&[("AA_ADMIN_SECRET", secret)]).await;
        assert!(!stopped.status.success(), "{secret:?}");
        assert!(stopped.output.contains("AA_ADMIN_SECRET"), "{secret:?}: {}", stopped.output);
    }
}

#[tokio::test]
async fn refuses_start_and_names_malformed_setting() {
    for (variable, value) in [
        ("AA_PORT", "eighty"),
        ("AA_PORT", "65536"),
        ("AA_BIND_ADDRESS", "nowhere"),
        ("AA_LOG_LEVEL", "loud"),
        ("AA_DEFAULT_TTL", "0"),
        ("AA_MAX_TTL", "-1"),
        ("AA_ADMIN_TOKEN_TTL", "5m"),
        ("AA_TRUST_DOMAIN", "Not A Domain"),
    ] {
        let stopped = Broker::refuses_to_start(&[(variable, value)]).await;
        assert!(!stopped.status.success(), "{variable}={value}");
        assert!(stopped.output.contains(variable), "{variable}={value}: {}", stopped.output);
    }
}

#[tokio::test]
async fn exits_with_0_on_sigterm() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let (stopped, _) = broker.terminate().await;
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
}

#[tokio::test]
async fn creates_files_readable_by_owner_only() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(broker.directory()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
        seen.push(entry.file_name().into_string().unwrap());
    }
    assert!(seen.contains(&"data.db".to_owned()) && seen.contains(&"signing.key".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn writes_no_secret_to_log_or_disk() {
    let broker = Broker::start_with(&[("AA_LOG_LEVEL", "trace")]).await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let registration = broker.registration(&admin, &["read:data:x"]).await.0;
    let agent = broker.post("/v1/register").json(&registration).await.json();
    broker.post("/v1/token/validate").json(&json!({"token": agent["access_token"]})).await;
    broker.post("/v1/admin/auth").json(&json!({"secret": "a-wrong-but-close-secret"})).await;

    let text = |member: &str| registration[member].as_str().unwrap().to_owned();
    let mut secrets = vec![
        ADMIN_SECRET.to_owned(),
        "a-wrong-but-close-secret".to_owned(),
        admin,
        app.client_secret,
        app_token,
        text("launch_token"),
        agent["access_token"].as_str().unwrap().to_owned(),
    ];
    for secret in &secrets {
        assert!(!broker.files_hold(secret.as_bytes()), "`{secret}` is on the disk");
    }
    secrets.push(text("nonce")); // no secret, yet not for the log either
    let (stopped, _) = broker.terminate().await;
    for secret in &secrets {
        assert!(!stopped.output.contains(secret), "`{secret}` is in the log:\n{}", stopped.output);
    }
}

#[tokio::test]
async fn health_subcommand_exits_with_status_of_broker() {
    let broker = Broker::start().await;
    let port = broker.address().rsplit(':').next().unwrap().to_owned();
    for address in ["127.0.0.1", "0.0.0.0"] {
        let settings = [("AA_PORT", port.as_str()), ("AA_BIND_ADDRESS", address)];
        let healthy = Broker::run_in(broker.directory(), &settings, &["health"]).await;
        assert!(healthy.status.success() && healthy.output.is_empty(), "{}", healthy.output);
    }
    let (_, directory) = broker.terminate().await;
    let gone = Broker::run_in(directory.path(), &[("AA_PORT", &port)], &["health"]).await;
    assert_eq!(gone.status.code(), Some(1));
    let complaint = format!("agentwrit-broker: the broker at 127.0.0.1:{port} is not healthy: Connection refused");
    assert!(gone.output.starts_with(&complaint), "{}", gone.output);
    let unknown = Broker::run_in(directory.path(), &[], &["health"]).await;
    assert!(unknown.status.code() == Some(1) && unknown.output.contains("the port is 0"), "{}", unknown.output);
}
