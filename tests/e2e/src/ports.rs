//! Ports for servers that keep theirs over restarts.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// Ports below those that the system gives to outgoing connections: such a connection could take a port between two starts.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Returns a free TCP port of 127.0.0.1, another one at each call.
#[must_use]
pub fn free_port() -> u16 {
    // Tests of several processes begin at different ports.
    let begin = std::process::id().wrapping_mul(97);
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .expect("a free port")
}
