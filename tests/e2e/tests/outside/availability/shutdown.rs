//! SIGTERM ends the broker in time, whatever its clients do.

use std::time::{Duration, Instant};

use agentwrit_e2e::Broker;
use tokio::time::timeout;

use crate::raw::Raw;

const BEGUN_BODY: &str =
    "POST /v1/token/validate HTTP/1.1\r\nhost: broker\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
const REQUEST: &str = "GET /v1/health HTTP/1.1\r\nhost: broker\r\n\r\n";

/// A connection whose body is being read: the broker has asked for it.
async fn stalled_body(broker: &Broker) -> Raw {
    let mut connection = Raw::connect(broker).await;
    connection.send(BEGUN_BODY).await;
    connection.read_until("100 Continue\r\n\r\n").await;
    connection.send("{").await;
    connection
}

#[tokio::test]
async fn ends_within_ten_seconds_of_sigterm_while_clients_stall() {
    let broker = Broker::start().await;
    let mut body = stalled_body(&broker).await;
    let mut idle = Raw::connect(&broker).await;
    idle.send(REQUEST).await;
    assert_eq!(idle.status().await, 200);
    let mut head = Raw::connect(&broker).await;
    head.send("GET /v1/health HTTP/1.1\r\nho").await;
    let silent = Raw::connect(&broker).await;
    // Drained after its response, so that the client receives it: the drain ends with the broker, too.
    let mut unread = Raw::connect(&broker).await;
    unread.send("POST /v1/delegate HTTP/1.1\r\nhost: broker\r\ncontent-length: 60000\r\n\r\n{").await;
    assert_eq!(unread.status().await, 401);
    let mut poll = Raw::connect(&broker).await;
    poll.send("GET /v1/revocations?since=0&wait=25 HTTP/1.1\r\nhost: broker\r\n\r\n").await;

    let sent = Instant::now();
    let (stopped, _) = broker.terminate().await;
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
    assert!(!stopped.output.contains("requests were still running"), "{}", stopped.output);
    assert!(!stopped.output.contains("panicked"), "{}", stopped.output);
    assert_eq!(body.status().await, 503);
    assert_eq!(poll.status().await, 200);
    drop((head, silent));
}

#[tokio::test]
async fn answers_stalled_login_with_503_at_sigterm_without_a_panic() {
    let broker = Broker::start().await;
    let mut login = Raw::connect(&broker).await;
    login.send("POST /v1/admin/auth HTTP/1.1\r\nhost: broker\r\ncontent-length: 100\r\n\r\n{\"secret\":").await;
    // Answered after the login's head was received, on a connection that was made later.
    let mut later = Raw::connect(&broker).await;
    later.send(REQUEST).await;
    assert_eq!(later.status().await, 200);

    let (stopped, _) = broker.terminate().await;
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
    assert!(!stopped.output.contains("panicked"), "{}", stopped.output);
    assert_eq!(login.status().await, 503);
}

#[tokio::test]
async fn ends_within_ten_seconds_of_sigterm_while_client_reads_no_response() {
    let broker = Broker::start().await;
    let mut connection = Raw::connect(&broker).await;
    // Pipelined until the broker reads no more, because its responses fill all buffers.
    let requests = REQUEST.repeat(1_000);
    while timeout(Duration::from_secs(2), connection.send(&requests)).await.is_ok() {}

    let sent = Instant::now();
    let (stopped, _) = broker.terminate().await;
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.output);
    assert!(stopped.output.contains("requests were still running"), "{}", stopped.output);
}
