//! Request bodies that do not arrive: they keep no other request from being read.

use std::time::Duration;

use agentwrit_e2e::Broker;
use serde_json::json;
use tokio::time::timeout;

use crate::raw::Raw;

/// The places for large bodies in a broker with plenty of memory, and the share of one address.
const PLACES: usize = 64;
const SHARE: usize = PLACES / 4;
const LARGE: usize = 20 * 1024;

fn head(framing: &str) -> String {
    format!("POST /v1/token/validate HTTP/1.1\r\nhost: broker\r\nexpect: 100-continue\r\n{framing}\r\n\r\n")
}

/// A connection whose body is being read: the broker has asked for it.
async fn stalled(broker: &Broker, host: u8, framing: &str, beginning: &str) -> Raw {
    let mut connection = Raw::connect_from(broker, host).await;
    connection.send(head(framing)).await;
    connection.read_until("100 Continue\r\n\r\n").await;
    connection.send(beginning).await;
    connection
}

#[tokio::test]
async fn reads_small_and_empty_bodies_while_64_chunked_bodies_stall_after_a_byte() {
    let broker = Broker::start().await;
    let mut stalling = Vec::new();
    for _ in 0..PLACES {
        stalling.push(stalled(&broker, 1, "transfer-encoding: chunked", "1\r\n{\r\n").await);
    }
    // From the same address: what `curl -X POST` sends (neither length nor encoding), an empty body, a chunked one.
    for (framing, body, status) in [
        ("", "", 401),
        ("content-length: 0\r\n", "", 401),
        ("transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", 401),
    ] {
        let mut connection = Raw::connect(&broker).await;
        connection.send(format!("POST /v1/token/renew HTTP/1.1\r\nhost: broker\r\n{framing}\r\n{body}")).await;
        assert_eq!(connection.status().await, status, "{framing:?}");
    }
    let mut connection = Raw::connect(&broker).await;
    let body = r#"{"token":"x"}"#;
    let length = body.len();
    connection
        .send(format!(
            "POST /v1/token/validate HTTP/1.1\r\nhost: broker\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(connection.status().await, 200);
}

#[tokio::test]
async fn reads_a_large_body_while_four_other_addresses_stall_all_places() {
    let broker = Broker::start().await;
    let framing = format!("content-length: {LARGE}");
    let mut stalling = Vec::new();
    for host in 2..6 {
        for _ in 0..SHARE {
            stalling.push(stalled(&broker, host, &framing, "{").await);
        }
    }
    let padding = "x".repeat(LARGE);
    let sent = broker.post("/v1/token/validate").json(&json!({ "token": "x", "padding": padding }));
    let answer =
        timeout(Duration::from_secs(10), sent.into_future()).await.expect("an answer before the bodies time out");
    assert_eq!(answer.status, 200);
    // The oldest place of one of the largest holders was taken for it.
    assert_eq!(stalling[0].status().await, 503);
}

#[tokio::test]
async fn reads_a_large_body_while_its_own_address_stalls_its_whole_share() {
    let broker = Broker::start().await;
    let framing = format!("content-length: {LARGE}");
    let mut stalling = Vec::new();
    for _ in 0..SHARE {
        stalling.push(stalled(&broker, 1, &framing, "{").await);
    }
    let padding = "x".repeat(LARGE);
    let sent = broker.post("/v1/token/validate").json(&json!({ "token": "x", "padding": padding }));
    assert_eq!(sent.await.status, 200);
    assert_eq!(stalling[0].status().await, 503, "the oldest gave way");
}

/// As many open files as leave 32 connections, 8 for one address.
const FEW_FILES: &str = "ulimit -n 96";

#[tokio::test]
async fn accepts_connections_while_four_other_addresses_stall_bodies_on_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start_after(FEW_FILES, directory, &[]).await;
    let mut stalling = Vec::new();
    for host in 2..6 {
        for _ in 0..8 {
            stalling.push(stalled(&broker, host, "content-length: 100", "{").await);
        }
    }
    let mut connection = Raw::connect(&broker).await;
    connection.send("GET /v1/health HTTP/1.1\r\nhost: broker\r\n\r\n").await;
    assert_eq!(connection.status().await, 200);
}
