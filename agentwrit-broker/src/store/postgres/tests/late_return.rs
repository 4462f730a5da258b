//! Brokers that return long after the database lost commits that they saw.

use std::{fs, time::Duration};

use ::postgres_server::PostgresServer;
use agentwrit_verify::{Clock as _, SystemClock};
use tempfile::TempDir;

use super::*;
use crate::{
    maintenance::lost_history::revoke_all,
    store::{LostHistoryOptions, OnLoss},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Adds two events.
async fn create(server: &PostgresServer, database: &str) {
    let store = connect(&server.url(database));
    store.transact(|tx| register(tx, 1)).await.unwrap();
    store.close().await;
}

/// Starts a broker that stopped some time ago and saw an event of another log last. Returns the number of reactions in the
/// trail after it.
async fn reactions_after_return(server: &PostgresServer, database: &str, stopped: Duration) -> String {
    let identity = server.query(database, "SELECT identity FROM head").remove(0);
    let at = SystemClock.now().elapsed_since_epoch().checked_sub(stopped).unwrap();
    let (directory, hash) = (TempDir::new().unwrap(), "ab".repeat(32));
    let path = directory.path().join("broker.state");
    let contents = format!(
        r#"{{"version":1,"database":"{identity}","epoch":"0123456789abcdef","event":2,"hash":"{hash}","at":{}}}"#,
        at.as_micros()
    );
    fs::write(&path, contents).unwrap();
    let lost_history =
        LostHistoryOptions { state_path: Some(path), reaction: OnLoss::react(revoke_all), withdraw_again: None };
    let store = connect_with(&server.url(database), StoreOptions { lost_history, ..StoreOptions::default() });
    store.close().await;
    let kind = i32::from(EventType::HistoryLost.code()) * 2;
    server.query(database, &format!("SELECT count(*) FROM audit_events WHERE kind = {kind}")).remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_of_reaction_covers_loss_after_its_mark_was_pruned() {
    let server = PostgresServer::start();
    create(&server, "postgres").await;
    assert_eq!(reactions_after_return(&server, "postgres", HOUR).await, "1");
    server.query("postgres", "DELETE FROM revocations");
    assert_eq!(reactions_after_return(&server, "postgres", HOUR).await, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiry_of_everything_covers_loss_only_with_ceiling_of_sessions() {
    let server = PostgresServer::start();
    for (database, ceiling, hours, reactions) in
        [("expired", "600", 26, "0"), ("alive", "600", 24, "1"), ("unlimited", "NULL", 26, "1")]
    {
        server.query("postgres", &format!("CREATE DATABASE {database}"));
        create(&server, database).await;
        let cluster =
            format!("INSERT INTO cluster VALUES (1, 'issuer', 'domain', NULL, {ceiling}, '', 'allowed', NULL, 600)");
        server.query(database, &cluster);
        assert_eq!(reactions_after_return(&server, database, HOUR * hours).await, reactions, "{database}");
    }
}
