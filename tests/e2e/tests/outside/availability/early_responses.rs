//! Responses that are made before the request's body was read reach a client that is still sending (RFC 9112 §9.6).

use agentwrit_e2e::Broker;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PART: usize = 4096;

/// Sends a request's head and the first part of its body, the rest once the broker has logged the request, and only then
/// reads. Returns the status of the response, once the same connection has taken another request.
async fn send_slowly(broker: &Broker, method: &str, path: &str, headers: &str, parts: usize) -> String {
    let mut connection = TcpStream::connect(broker.address()).await.unwrap();
    let length = parts * PART;
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&[b' '; PART]).await.unwrap();
    broker.says(path.split('?').next().unwrap()).await;
    for _ in 1..parts {
        connection.write_all(&[b' '; PART]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let next = b"GET /v1/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    connection.write_all(next).await.unwrap();
    let mut responses = String::new();
    connection.read_to_string(&mut responses).await.unwrap();
    // A body is followed by the next response without a line break.
    let statuses: Vec<&str> =
        responses.split("HTTP/1.1 ").skip(1).filter_map(|response| response.lines().next()).collect();
    assert_eq!(statuses.len(), 2, "{method} {path}: {responses}");
    assert_eq!(statuses[1], "200 OK");
    statuses[0].to_owned()
}

#[tokio::test]
async fn delivers_response_made_before_body_was_read_and_keeps_connection() {
    let broker = Broker::start().await;
    let host = "host: x\r\n";
    for (method, path, headers, parts, status) in [
        ("POST", "/v1/delegate", host, 15, "401 Unauthorized"),
        ("POST", "/v1/revoke", "host: x\r\nauthorization: Bearer a.b.c\r\n", 15, "401 Unauthorized"),
        ("POST", "/v1/nowhere", host, 15, "404 Not Found"),
        ("PATCH", "/v1/register", host, 15, "405 Method Not Allowed"),
        ("POST", "/v1/token/validate?x=1", host, 15, "400 Bad Request"),
        ("POST", "/v1/app/auth", "", 15, "400 Bad Request"),
        ("GET", "/v1/challenge", host, 15, "200 OK"),
        ("POST", "/v1/admin/auth", host, 512, "413 Payload Too Large"),
    ] {
        let line = send_slowly(&broker, method, path, headers, parts).await;
        assert_eq!(line, status, "{method} {path}");
    }
}

#[tokio::test]
async fn responds_to_expectation_without_asking_for_body() {
    let broker = Broker::start().await;
    let mut connection = TcpStream::connect(broker.address()).await.unwrap();
    let head = "POST /v1/delegate HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 60000\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
}
