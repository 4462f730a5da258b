//! Ports that nothing listens on.

use std::net::TcpListener;

/// Returns a free TCP port of 127.0.0.1.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
