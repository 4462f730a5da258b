//! The health check of a container, while clients hold every connection.

use std::time::Duration;

use agentwrit_e2e::Broker;
use tempfile::tempdir;

use crate::raw::Raw;

/// Connections that 128 open files allow, and the share of one address.
const FILES: &str = "ulimit -n 128";
const SHARE: usize = 64 / 4;

#[tokio::test]
async fn succeeds_while_idle_connections_hold_every_place() {
    let broker = Broker::start_after(FILES, tempdir().unwrap(), &[]).await;
    let mut held = Vec::new();
    for _ in 0..SHARE {
        held.push(Raw::connect_from(&broker, 1).await);
    }
    // One more is closed at once: the share is really held.
    let mut beyond = Raw::connect_from(&broker, 1).await;
    assert!(beyond.ends_within(Duration::from_secs(4)).await, "127.0.0.1 has its share");
    for host in 2..5 {
        for _ in 0..SHARE {
            held.push(Raw::connect_from(&broker, host).await);
        }
    }
    let port = broker.address().rsplit(':').next().unwrap();
    let healthy = Broker::run_in(broker.directory(), &[("AA_PORT", port)], &["health"]).await;
    assert!(healthy.status.success(), "{}", healthy.output);
}

#[tokio::test]
async fn fails_after_a_crash_and_succeeds_after_the_next_start() {
    let broker = Broker::start().await;
    let port = broker.address().rsplit(':').next().unwrap().to_owned();
    let directory = broker.kill().await;
    assert!(directory.path().join("data.db.health").exists(), "left over");
    let gone = Broker::run_in(directory.path(), &[("AA_PORT", &port)], &["health"]).await;
    assert_eq!(gone.status.code(), Some(1), "{}", gone.output);

    let broker = Broker::start_in(directory, &[]).await;
    let healthy = Broker::run_in(broker.directory(), &[], &["health"]).await;
    assert!(healthy.status.success(), "{}", healthy.output);
    let (_, directory) = broker.terminate().await;
    assert!(!directory.path().join("data.db.health").exists());
}
