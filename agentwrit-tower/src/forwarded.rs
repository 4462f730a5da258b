//! URL by which a trusted proxy received a request: `Forwarded` (RFC 7239) or `X-Forwarded-Proto`, `-Host` and `-Prefix`.
//!
//! 1. Only headers of a request from a configured peer count. Without the peer's address in the request's extensions none
//!    does.
//! 2. The proxy sets each header anew. Values that a client sent before it would decide which URL a proof must name, so a
//!    header with several values, or both kinds of headers, name no URL.
//! 3. Nothing is guessed: without a scheme and a host in them, the headers name no URL. `Host` is not one of them.
//! 4. The host is the client's choice (most proxies pass `Host` on), so it must be one that is configured.
//! 5. A request whose headers name no URL is compared with the configured external URLs.

use std::net::IpAddr;
use std::sync::Arc;

use agentwrit_verify::proof::ExternalUrl;
use http::header::{FORWARDED, HeaderName};
use http::request::Parts;
use http::{Extensions, HeaderMap};
use ipnet::IpNet;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Address of the peer of a request's connection, in the extensions of the request: for servers without axum's
/// `ConnectInfo<SocketAddr>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a peer has one address")]
pub struct PeerAddress(pub IpAddr);

/// Error of a text that is not a network of trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address or a network, such as `10.0.0.0/8` or `::1`")]
#[non_exhaustive]
pub struct ProxyNetworkError {
    /// The text.
    pub text: String,
}

/// Networks of the proxies whose headers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    pub(crate) fn parse<S: AsRef<str>>(networks: impl IntoIterator<Item = S>) -> Result<Self, ProxyNetworkError> {
        let parsed = networks.into_iter().map(|text| {
            let text = text.as_ref();
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.ok_or_else(|| ProxyNetworkError { text: text.chars().take(64).collect() })
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Returns the URL that the headers of a trusted proxy name.
    pub(crate) fn external_url(&self, head: &Parts) -> Option<ExternalUrl> {
        let peer = peer(&head.extensions)?.to_canonical();
        if !self.0.iter().any(|network| network.contains(&peer)) {
            return None;
        }
        let others = [X_FORWARDED_PROTO, X_FORWARDED_HOST, X_FORWARDED_PREFIX];
        let has_others = others.iter().any(|name| head.headers.contains_key(name));
        match (head.headers.contains_key(FORWARDED), has_others) {
            (true, false) => of_forwarded(only(&head.headers, &FORWARDED)?),
            (false, true) => of_x_forwarded(&head.headers),
            (true, true) | (false, false) => None,
        }
    }
}

/// Returns the address of the request's peer, if the server inserted it.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    #[cfg(feature = "connect-info")]
    if let Some(axum::extract::ConnectInfo(address)) =
        extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()
    {
        return Some(address.ip());
    }
    extensions.get::<PeerAddress>().map(|PeerAddress(address)| *address)
}

fn of_x_forwarded(headers: &HeaderMap) -> Option<ExternalUrl> {
    let prefix = if headers.contains_key(X_FORWARDED_PREFIX) { only(headers, &X_FORWARDED_PREFIX)? } else { "" };
    url(only(headers, &X_FORWARDED_PROTO)?, only(headers, &X_FORWARDED_HOST)?, prefix)
}

/// Reads the one element of `Forwarded`, RFC 7239 §4.
fn of_forwarded(value: &str) -> Option<ExternalUrl> {
    let (mut scheme, mut host) = (None, None);
    for pair in value.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        let place = match name {
            name if name.eq_ignore_ascii_case("proto") => &mut scheme,
            name if name.eq_ignore_ascii_case("host") => &mut host,
            _ => continue,
        };
        let unquoted = value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'))?;
        if place.replace(unquoted).is_some() {
            return None;
        }
    }
    url(scheme?, host?, "")
}

pub(crate) fn url(scheme: &str, host: &str, prefix: &str) -> Option<ExternalUrl> {
    // A host with a slash would name a path, one with an escape something else than it shows.
    let is_host = !host.is_empty() && !host.contains(['/', '\\', '@', '?', '#', '"']);
    let is_prefix = prefix.is_empty() || prefix.starts_with('/');
    (is_host && is_prefix).then(|| ExternalUrl::parse(&format!("{scheme}://{host}{prefix}")).ok())?
}

/// Returns the only value of a header that lists none.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim();
    (values.next().is_none() && !value.contains(',')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const PROXY: [u8; 4] = [10, 1, 2, 3];

    fn named(peer: Option<IpAddr>, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::get("/records/7");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        if let Some(peer) = peer {
            head.extensions.insert(PeerAddress(peer));
        }
        let proxies = TrustedProxies::parse(["10.0.0.0/8", "::1"]).unwrap();
        proxies.external_url(&head).map(|url| url.to_string())
    }

    #[test]
    fn reads_headers_of_trusted_proxy() {
        let all = [("x-forwarded-proto", "https"), ("x-forwarded-host", "api.example.com:8443")];
        let prefixed = [&all[..], &[("x-forwarded-prefix", "/svc2/")]].concat();
        for (headers, expected) in [
            (&all[..], "https://api.example.com:8443"),
            (&prefixed[..], "https://api.example.com:8443/svc2"),
            (&[("forwarded", "for=192.0.2.9;Proto=HTTPS; host=\"api.example.com:443\"")], "https://api.example.com"),
        ] {
            assert_eq!(named(Some(PROXY.into()), headers).as_deref(), Some(expected), "{headers:?}");
        }
        let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
        assert!(named(Some(mapped), &all).is_some(), "a socket for both families shows IPv4 addresses so");
        assert!(named(Some("::1".parse().unwrap()), &all).is_some());
    }

    #[test]
    fn ignores_headers_of_other_peers_and_without_peer_address() {
        let all = [("x-forwarded-proto", "https"), ("x-forwarded-host", "api.example.com")];
        assert_eq!(named(Some([11, 0, 0, 1].into()), &all), None);
        assert_eq!(named(None, &all), None);
    }

    #[test]
    fn ignores_headers_that_a_client_may_have_extended_or_that_are_incomplete() {
        let (proto, host) = (("x-forwarded-proto", "https"), ("x-forwarded-host", "api.example.com"));
        for headers in [
            &[proto][..],
            &[host],
            &[],
            &[("host", "api.example.com"), proto],
            &[proto, ("x-forwarded-host", "evil.example, api.example.com")],
            &[proto, host, ("x-forwarded-host", "evil.example")],
            &[("x-forwarded-proto", "http, https"), host],
            &[proto, host, ("forwarded", "proto=https;host=api.example.com")],
            &[proto, host, ("x-forwarded-prefix", "svc2")],
            &[proto, host, ("x-forwarded-prefix", "/a"), ("x-forwarded-prefix", "/b")],
            &[proto, host, ("x-forwarded-prefix", "/a?b")],
            &[proto, ("x-forwarded-host", "api.example.com/evil")],
            &[proto, ("x-forwarded-host", "user@api.example.com")],
            &[proto, ("x-forwarded-host", "")],
            &[("x-forwarded-proto", "ftp"), host],
            &[("forwarded", "host=api.example.com")],
            &[("forwarded", "proto=https")],
            &[("forwarded", "proto=https;host=a.example, proto=https;host=api.example.com")],
            &[("forwarded", "proto=https;host=a.example;host=api.example.com")],
            &[("forwarded", "proto=https;host=\"api.example.com")],
            &[("forwarded", "proto=https;host")],
        ] {
            assert_eq!(named(Some(PROXY.into()), headers), None, "{headers:?}");
        }
    }

    #[test]
    fn rejects_texts_that_are_not_networks() {
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0", "::1/129", "10.0.0.0/8,::1"] {
            assert_eq!(TrustedProxies::parse([text]), Err(ProxyNetworkError { text: text.to_owned() }));
        }
    }
}
