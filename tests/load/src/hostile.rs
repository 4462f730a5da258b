//! Hostile requests: their bytes, and connections on which they stay unfinished or unread.

use std::{
    fmt::Write as _,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Timeout for a step of a hostile connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Receive buffer of a client that does not read: the rest stays in the broker.
const UNREAD: u32 = 16 * 1024;

/// Returns the address number `index` of the loopback interface, 127.0.0.2 and on.
pub(crate) fn address(index: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0002 + u32::from(index)))
}

/// Connects from an address of this machine, with a small receive buffer.
pub(crate) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(UNREAD)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    timeout(PATIENCE, socket.connect(to)).await?
}

/// Returns a registration of one mebibyte: an unknown member holds objects with an empty name each.
pub(crate) fn large_body() -> String {
    let mut body = String::from(
        r#"{"launch_token":"x","nonce":"x","public_key":"x","signature":"x","orch_id":"x","task_id":"x","requested_scope":["read:data:*"],"z":["#,
    );
    let item = r#"{"":0},"#;
    let items = (1024 * 1024 - body.len() - 16) / item.len();
    body.push_str(&item.repeat(items));
    body.push_str("0]}");
    body
}

/// Returns a query with this many distinct names of three letters.
pub(crate) fn query(parameters: u32) -> String {
    let mut query = String::from("/v1/revocations?");
    for number in 0..parameters {
        let letter = |place: u32| char::from(b'a' + u8::try_from(number / 26_u32.pow(place) % 26).unwrap_or(0));
        // Writing to a string does not fail.
        write!(query, "{}{}{}&", letter(2), letter(1), letter(0)).unwrap_or_default();
    }
    query
}

/// Returns the head of a request with a chunked body, and one byte of it.
pub(crate) fn stalled_body(host: &str) -> String {
    format!("POST /v1/token/validate HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n")
}

/// Sends as much as the broker accepts, and reads the beginning of its response: nothing if it closed.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    let mut received = vec![0; 512];
    let exchange = async {
        // A rejection may arrive before the whole request was sent.
        stream.write_all(request).await.ok();
        stream.read(&mut received).await.unwrap_or(0)
    };
    let length = timeout(PATIENCE, exchange).await.unwrap_or(0);
    received.truncate(length);
    received
}

/// Sends as much as the broker accepts at once, and stops.
pub(crate) async fn send_and_leave(stream: &mut TcpStream, request: &[u8]) {
    timeout(Duration::from_millis(200), stream.write_all(request)).await.map_or(Ok(()), |sent| sent).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_addresses() {
        assert_eq!(address(0).to_string(), "127.0.0.2");
        assert_eq!(address(300).to_string(), "127.0.1.46");
        assert!(address(16_383).is_loopback());
    }

    #[test]
    fn large_body_is_json_just_below_the_limit() {
        let body = large_body();
        assert!((1_048_000..=1_048_576).contains(&body.len()), "{}", body.len());
        let members: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(members["z"].as_array().unwrap().len() > 100_000);
    }

    #[test]
    fn names_of_a_query_are_distinct() {
        let query = query(15_500);
        let names: std::collections::HashSet<&str> =
            query.split_once('?').unwrap().1.split('&').filter(|name| !name.is_empty()).collect();
        assert_eq!((names.len(), query.len()), (15_500, 62_016));
    }
}
