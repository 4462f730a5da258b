//! A second broker on a database that is in use refuses to start, by whatever path it comes: two would each miss the
//! revocations that the other acknowledged.

use std::{fs, os::unix::fs::symlink, path::Path};

use agentwrit_e2e::Broker;

/// Expects the start of a second broker on `database` to be refused.
async fn refuses_second_broker(first: &Broker, database: &Path) {
    let elsewhere = tempfile::tempdir().unwrap();
    let settings = [("AA_DB_PATH", database.to_str().unwrap())];
    let stopped = Broker::run_in(elsewhere.path(), &settings, &[]).await;
    assert_eq!(stopped.status.code(), Some(1), "{}", stopped.output);
    assert!(stopped.output.contains("is in use by another broker"), "{}", stopped.output);
    // The first goes on, and its files are as good as before.
    first.admin_token().await;
}

#[tokio::test]
async fn refuses_second_broker_by_symbolic_link_to_file_or_directory() {
    let broker = Broker::start().await;
    let links = tempfile::tempdir().unwrap();
    let (file, directory) = (links.path().join("link.db"), links.path().join("link"));
    symlink(broker.directory().join("data.db"), &file).unwrap();
    symlink(broker.directory(), &directory).unwrap();
    refuses_second_broker(&broker, &broker.directory().join("data.db")).await;
    refuses_second_broker(&broker, &file).await;
    refuses_second_broker(&broker, &directory.join("data.db")).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn refuses_second_broker_by_hard_link_or_after_lock_file_was_deleted() {
    let broker = Broker::start().await;
    let link = broker.directory().join("hard.db");
    fs::hard_link(broker.directory().join("data.db"), &link).unwrap();
    refuses_second_broker(&broker, &link).await;
    fs::remove_file(&link).unwrap();
    fs::remove_file(broker.directory().join("data.db.lock")).unwrap();
    refuses_second_broker(&broker, &broker.directory().join("data.db")).await;

    // Acknowledged operations of the first are kept after its end; then another may start.
    let admin = broker.admin_token().await;
    let (token, id) = broker.agent(&admin, &["read:data:x"]).await;
    broker.revoked(&admin, "agent", &id).await;
    let (_, directory) = broker.terminate().await;
    let broker = Broker::start_in(directory, &[]).await;
    let validity = broker.post("/v1/token/validate").json(&serde_json::json!({"token": token})).await.json();
    assert_eq!(validity["valid"], false, "{validity}");
}
