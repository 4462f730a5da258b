//! Request heads: bounded, so that the memory of a connection is.

use agentwrit_e2e::Broker;

use crate::raw::Raw;

#[tokio::test]
async fn refuses_a_request_head_beyond_16_kib_and_serves_one_below() {
    let broker = Broker::start().await;
    let get =
        |length| format!("GET /v1/challenge HTTP/1.1\r\nhost: broker\r\nx-padding: {}\r\n\r\n", "x".repeat(length));
    let mut connection = Raw::connect(&broker).await;
    connection.send(get(15 * 1024)).await;
    assert_eq!(connection.status().await, 200);

    let mut connection = Raw::connect(&broker).await;
    connection.send(get(17 * 1024)).await;
    assert_eq!(connection.status().await, 431);
}

#[tokio::test]
async fn buffers_at_most_a_head_of_requests_that_are_sent_ahead() {
    let broker = Broker::start().await;
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    // Each long path is one request; the others wait behind it, as its response is not read.
    let path = "x".repeat(60_000);
    let request = format!("GET /{path} HTTP/1.1\r\nhost: broker\r\n\r\n");
    let before = resident();
    let mut connections = Vec::new();
    for host in 2..6 {
        for _ in 0..50 {
            let mut connection = Raw::connect_from(&broker, host).await;
            connection.send(request.get(..16_000).unwrap()).await;
            connections.push(connection);
        }
    }
    // All of them have been accepted and read when the last one is refused for the size of its head.
    for connection in &mut connections {
        // The broker may have hung up already.
        tokio::io::AsyncWriteExt::write_all(&mut connection.stream, &request.as_bytes()[16_000..]).await.ok();
    }
    for mut connection in connections {
        assert!(connection.ends_within(std::time::Duration::from_secs(30)).await);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 * 48, "{grown} KiB for 200 connections");
}
