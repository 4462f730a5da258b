//! Address of the client of a request, for limits and for the audit trail.
//!
//! 1. Without a trusted proxy it is the peer of the connection; `X-Forwarded-For` of any other peer is ignored.
//! 2. Each trusted proxy vouches for the address to its left. Reading from the right, the first address that is not a
//!    trusted proxy counts: entries further left were written by the client.
//! 3. If an entry is not an address, the proxy that vouched for it counts: its clients then share one limit, and none of
//!    them can choose an address.
//! 4. If every entry is a trusted proxy, the leftmost counts.
//! 5. IPv4 in IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
//!
//! A proxy must append to `X-Forwarded-For` or replace it. One that passes it through unchanged may not be trusted.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Returns the address of the client behind `peer`. `forwarded` holds the values of all `X-Forwarded-For` headers in the order
/// in which they were received.
pub(crate) fn client_address<'h>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'h [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    let mut entries = forwarded
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty());
    while is_trusted(&address) {
        match entries.next().map(parse) {
            Some(Some(next)) => address = next,
            Some(None) | None => break,
        }
    }
    address
}

/// Parses `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]`, and each with the port that some proxies add.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok();
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| bracketed().map(IpAddr::V6))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(peer: &str, headers: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let headers = headers.iter().map(|value| value.as_bytes());
        client_address(peer.parse().unwrap(), headers, &trusted).to_string()
    }

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

    #[test]
    fn ignores_header_of_untrusted_peer() {
        assert_eq!(resolve("198.51.100.7", &["192.0.2.1"], &PROXIES), "198.51.100.7");
        assert_eq!(resolve("198.51.100.7", &["192.0.2.1"], &[]), "198.51.100.7");
        assert_eq!(resolve("10.0.0.1", &["192.0.2.1"], &[]), "10.0.0.1");
    }

    #[test]
    fn returns_rightmost_address_that_is_not_a_trusted_proxy() {
        for (headers, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (&["203.0.113.9, 192.0.2.1, 10.0.0.2, 10.9.9.9"], "192.0.2.1"),
            (&["10.0.0.99, 192.0.2.1"], "192.0.2.1"),
            (&["203.0.113.9", "192.0.2.1"], "192.0.2.1"),
            (&["203.0.113.9, 192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.1,\t fd00::5"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["192.0.2.1,, ,10.0.0.2,"], "192.0.2.1"),
        ] {
            assert_eq!(resolve("10.0.0.1", headers, &PROXIES), expected, "{headers:?}");
        }
    }

    #[test]
    fn returns_leftmost_proxy_when_all_entries_are_trusted() {
        assert_eq!(resolve("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &PROXIES), "10.0.0.3");
        assert_eq!(resolve("10.0.0.1", &[], &PROXIES), "10.0.0.1");
        assert_eq!(resolve("10.0.0.1", &[""], &PROXIES), "10.0.0.1");
    }

    #[test]
    fn returns_vouching_proxy_when_entry_is_not_an_address() {
        for entry in [
            "unknown",
            "_hidden",
            "192.0.2.256",
            "192.0.2.1/24",
            "fe80::1%eth0",
            "[::1",
            "::1]",
            "a b",
            "0x7f.1",
            "192.0.2.1 192.0.2.2",
            "[192.0.2.1]",
        ] {
            assert_eq!(resolve("10.0.0.1", &[entry], &PROXIES), "10.0.0.1", "{entry}");
            let behind = format!("192.0.2.1, {entry}, 10.0.0.2");
            assert_eq!(resolve("10.0.0.1", &[&behind], &PROXIES), "10.0.0.2", "{entry}");
        }
        let binary: [&[u8]; 1] = [b"\xff\xfe"];
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(client_address(peer, binary.into_iter(), &trusted), peer);
    }

    #[test]
    fn ignores_entries_left_of_the_client() {
        assert_eq!(resolve("10.0.0.1", &["unknown, \x7f;,192.0.2.1"], &PROXIES), "192.0.2.1");
    }

    #[test]
    fn strips_ports_and_brackets() {
        for entry in ["192.0.2.1:4711", "::ffff:192.0.2.1", "[::ffff:192.0.2.1]:4711", "[::ffff:c000:201]"] {
            assert_eq!(resolve("10.0.0.1", &[entry], &PROXIES), "192.0.2.1", "{entry}");
        }
        assert_eq!(resolve("10.0.0.1", &["[2001:db8::1]:443"], &PROXIES), "2001:db8::1");
    }

    #[test]
    fn maps_ipv4_in_ipv6_to_ipv4_for_peers_and_proxies() {
        assert_eq!(resolve("::ffff:192.0.2.1", &[], &PROXIES), "192.0.2.1");
        assert_eq!(resolve("::ffff:10.0.0.1", &["192.0.2.1, ::ffff:10.0.0.2"], &PROXIES), "192.0.2.1");
    }
}
