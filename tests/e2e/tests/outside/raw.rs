//! Connections below HTTP: bytes from an address of this machine's choice.

use std::{net::IpAddr, time::Duration};

use agentwrit_e2e::Broker;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of which the test writes and reads the bytes.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    /// Connects from `127.0.0.<host>`.
    pub(crate) async fn connect_from(broker: &Broker, host: u8) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Unread bytes stay with the broker, not in the client's kernel.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        socket.bind((IpAddr::from([127, 0, 0, host]), 0).into()).unwrap();
        let stream = socket.connect(broker.address().parse().unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub(crate) async fn connect(broker: &Broker) -> Self {
        Self::connect_from(broker, 1).await
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until `end`; everything that came so far.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut received = Vec::new();
        let reading = async {
            while !received.windows(end.len()).any(|window| window == end.as_bytes()) {
                let count = self.stream.read_buf(&mut received).await.unwrap();
                assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&received));
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("`{end}` did not arrive"));
        String::from_utf8(received).unwrap()
    }

    /// The status of the next response.
    pub(crate) async fn status(&mut self) -> u16 {
        let head = self.read_until("\r\n\r\n").await;
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Returns true if the connection is closed or reset within `limit`; bytes that arrive until then are dropped.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let ending = async { while self.stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
        timeout(limit, ending).await.is_ok()
    }
}
