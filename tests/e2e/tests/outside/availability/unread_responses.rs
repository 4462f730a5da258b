//! Responses that their clients do not take.

use std::fs;

use agentwrit_e2e::{Broker, alter_database};
use tokio::io::AsyncReadExt;

use crate::raw::Raw;

/// As many entries as make a snapshot that does not fit into the buffers of a connection.
const ENTRIES: usize = 60_000;
/// How many connections do not read theirs.
const UNREAD: u8 = 60;

/// A broker whose feed has a large snapshot, of so many entries.
async fn broker_with_a_large_snapshot(entries: usize) -> Broker {
    let (_, directory) = Broker::start().await.terminate().await;
    let far = "4102444800000000";
    alter_database(
        directory.path(),
        &format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {entries})
             INSERT INTO revocations (level, target, revoked_at, expires_at, revoked_by, listed)
             SELECT 'agent', 'spiffe://agentwrit.local/agent/o/t/' || printf('%016x', i), 1700000000000000, {far}, 'admin', 0
             FROM n"
        ),
    );
    Broker::start_in(directory, &[]).await
}

fn anonymous_memory(broker: &Broker) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

const SNAPSHOT: &str = "GET /v1/revocations HTTP/1.1\r\nhost: broker\r\n\r\n";

#[tokio::test]
async fn holds_few_copies_of_a_snapshot_that_60_connections_do_not_read() {
    let broker = broker_with_a_large_snapshot(ENTRIES).await;
    let size = broker.get("/v1/revocations").await.body.len();
    assert!(size > 4_000_000, "{size}");
    let before = anonymous_memory(&broker);
    let mut connections = Vec::new();
    for number in 0..UNREAD {
        // From three addresses, one after the other: each is answered, and so has a snapshot of its own moment.
        let mut connection = Raw::connect_from(&broker, 2 + number % 3).await;
        connection.send(SNAPSHOT).await;
        connection.read_until("\r\n\r\n").await;
        connections.push(connection);
    }
    let grown = anonymous_memory(&broker).saturating_sub(before);
    // At most 64 MiB of large responses, one that is being made, and the buffers of the connections.
    assert!(grown < 160 * 1024 * 1024, "{grown} bytes for {UNREAD} unread snapshots of {size}");
    let response = broker.get("/v1/revocations").await;
    assert_eq!((response.status, response.body.len()), (200, size));
}

/// More entries than half of the memory for snapshots holds.
const MANY_ENTRIES: usize = 250_000;

#[tokio::test]
async fn other_clients_requests_do_not_end_a_slow_download_of_the_snapshot() {
    let broker = broker_with_a_large_snapshot(MANY_ENTRIES).await;
    let admin = broker.admin_token().await;
    let mut slow = Raw::connect_from(&broker, 2).await;
    slow.send("GET /v1/revocations HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n").await;
    let mut received = slow.read_until("\r\n\r\n").await.into_bytes();
    for _ in 0..3 {
        // With each entry the snapshot is out of date.
        let (_, agent) = broker.agent(&admin, &["read:data:*"]).await;
        broker.revoked(&admin, "agent", &agent).await;
        let mut other = Raw::connect_from(&broker, 3).await;
        other.send(SNAPSHOT).await;
        assert_eq!(other.status().await, 200);
    }
    slow.stream.read_to_end(&mut received).await.unwrap();
    let received = String::from_utf8(received).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    assert_eq!(length, Some(body.len()));
}
