//! Addresses from which key sets are fetched, and the guard against requests to internal services (SSRF).
//!
//! 1. URLs are `https`; `http` only with a literal loopback address, as of a sidecar.
//! 2. A host name must resolve to public addresses: loopback, private, link-local, shared, unique-local, multicast and
//!    reserved ones are dropped, also where an IPv6 address embeds one. The connection goes to an address that was checked, so
//!    that a name cannot resolve to another one in between (DNS rebinding).
//! 3. A literal address in the URL is the operator's own choice, as is a host of `AA_ATTESTATION_PRIVATE_HOSTS`.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Longest URL in bytes.
const MAX_URL: usize = 2048;

/// Checked URL of a key set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeySetUrl(Url);

impl KeySetUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// [`KeySetUrlError`], with the reason.
    pub(crate) fn parse(text: &str) -> Result<Self, KeySetUrlError> {
        if text.len() > MAX_URL {
            return Err(KeySetUrlError::TooLong);
        }
        let url = Url::parse(text).map_err(|_| KeySetUrlError::Malformed)?;
        let host = url.host_str().ok_or(KeySetUrlError::Malformed)?;
        match url.scheme() {
            "https" => {}
            "http" if literal_address(host).is_some_and(|address| address.is_loopback()) => {}
            "http" => return Err(KeySetUrlError::NotEncrypted),
            _ => return Err(KeySetUrlError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(KeySetUrlError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(KeySetUrlError::Fragment);
        }
        Ok(Self(url))
    }

    /// Returns the URL.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

/// Reason why a text is not the URL of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetUrlError {
    /// Longer than 2048 bytes.
    #[error("longer than 2048 bytes")]
    TooLong,
    /// Not a URL with a host.
    #[error("not an absolute URL")]
    Malformed,
    /// Another scheme.
    #[error("not an `https` URL")]
    Scheme,
    /// `http`, and the host is not a literal loopback address.
    #[error("`http` is accepted with a literal loopback address only: use `https`")]
    NotEncrypted,
    /// User or password.
    #[error("has a user or password")]
    Credentials,
    /// Fragment.
    #[error("has a fragment")]
    Fragment,
}

/// Hosts that may resolve to private addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrivateHosts(Vec<String>);

impl PrivateHosts {
    /// Reads host names separated by commas, in lower case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hosts: Option<Vec<String>> =
            text.split(',').map(str::trim).filter(|host| !host.is_empty()).map(host_name).collect();
        hosts.map(Self)
    }

    fn contains(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

fn host_name(text: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
    let is_name = text.len() <= 253 && text.bytes().all(is_allowed) && text.split('.').all(is_label);
    (is_name && text.parse::<IpAddr>().is_err()).then(|| text.to_ascii_lowercase())
}

/// Source of a host's addresses.
pub(super) trait Lookup: Send + Sync + 'static {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// Resolver of the operating system.
#[derive(Debug)]
pub(super) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Resolver that returns public addresses only, unless the host may have private ones.
pub(super) struct GuardedResolver {
    lookup: Arc<dyn Lookup>,
    private_hosts: PrivateHosts,
}

impl GuardedResolver {
    pub(super) fn new(lookup: Arc<dyn Lookup>, private_hosts: PrivateHosts) -> Self {
        Self { lookup, private_hosts }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let may_be_private = self.private_hosts.contains(&host);
        let addresses = self.lookup.lookup(host.clone());
        Box::pin(async move {
            let mut addresses = addresses.await?;
            addresses.retain(|address| may_be_private || is_public(*address));
            if addresses.is_empty() {
                return Err(Box::new(PrivateAddress { host }) as Box<dyn Error + Send + Sync>);
            }
            let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// A host has no public address.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` has no public address: list it in AA_ATTESTATION_PRIVATE_HOSTS if it is one of yours")]
struct PrivateAddress {
    host: String,
}

/// Returns the address if a URL's host is a literal one.
fn literal_address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    inner.parse().ok()
}

/// Returns whether an address belongs to the public Internet: see the registries of special-purpose addresses (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        // Shared by the customers of a carrier (RFC 6598): also cluster networks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        // Multicast, reserved and broadcast.
        || a >= 224;
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // NAT64 (RFC 6052), 6to4 (RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => is_public_v4(v4(high, low)),
        // Global unicast (RFC 4291 §2.4), but Teredo and other protocol assignments, ORCHIDv2, documentation.
        [high @ 0x2000..=0x3fff, next, ..] => {
            !matches!((high, next), (0x2001, 0..=0x01ff | 0x0db8) | (0x3fff, 0..=0x0fff))
        }
        _ => false,
    }
}

impl fmt::Debug for GuardedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedResolver").field("private_hosts", &self.private_hosts).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use super::*;

    #[test]
    fn accepts_https_urls_and_http_of_literal_loopback() {
        for text in [
            "https://issuer.example/keys",
            "https://issuer.example:8443/keys?p=policy",
            "https://10.0.0.1/keys",
            "http://127.0.0.1:4000/keys",
            "http://127.9.9.9/keys",
            "http://[::1]:4000/keys",
        ] {
            assert!(KeySetUrl::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn rejects_other_urls_with_reason() {
        let long = format!("https://issuer.example/{}", "k".repeat(MAX_URL));
        for (text, expected) in [
            ("http://issuer.example/keys", KeySetUrlError::NotEncrypted),
            ("http://localhost/keys", KeySetUrlError::NotEncrypted),
            ("http://127.0.0.1.example/keys", KeySetUrlError::NotEncrypted),
            ("http://10.0.0.1/keys", KeySetUrlError::NotEncrypted),
            ("http://[::ffff:127.0.0.1]/keys", KeySetUrlError::NotEncrypted),
            ("http://0.0.0.0/keys", KeySetUrlError::NotEncrypted),
            ("ftp://issuer.example/keys", KeySetUrlError::Scheme),
            ("file:///etc/passwd", KeySetUrlError::Malformed),
            ("unix:/run/keys", KeySetUrlError::Malformed),
            ("//issuer.example/keys", KeySetUrlError::Malformed),
            ("", KeySetUrlError::Malformed),
            ("https://user@issuer.example/", KeySetUrlError::Credentials),
            ("https://:secret@issuer.example/", KeySetUrlError::Credentials),
            ("https://issuer.example/#keys", KeySetUrlError::Fragment),
            (&long, KeySetUrlError::TooLong),
        ] {
            assert_eq!(KeySetUrl::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn tells_public_addresses_from_special_ones() {
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "100.64.0.1",
            "100.127.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "64:ff9b::a00:1",
            "64:ff9b:1::a00:1",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "4000::1",
            "100::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn parses_private_hosts_and_rejects_other_texts() {
        let hosts = PrivateHosts::parse("keys.internal, Kubernetes.default.svc").unwrap();
        assert!(
            hosts.contains("keys.internal")
                && hosts.contains("kubernetes.default.svc")
                && hosts.contains("keys.internal.")
        );
        assert!(
            !hosts.contains("internal") && !hosts.contains("x.keys.internal") && !hosts.contains("keys.internal.evil")
        );
        assert_eq!(PrivateHosts::parse(""), Some(PrivateHosts::default()));
        for text in ["*.internal", "10.0.0.1", "https://keys.internal", "keys..internal", "keys internal", "keys:80"] {
            assert_eq!(PrivateHosts::parse(text), None, "{text}");
        }
    }

    /// Resolver whose answers change with each call, as in DNS rebinding.
    struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

    impl Lookup for Answers {
        fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
            let answer = self.0.lock().unwrap().pop_front().unwrap_or_default();
            Box::pin(async { Ok(answer) })
        }
    }

    fn resolver(answers: &[&[&str]], private_hosts: &str) -> GuardedResolver {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let answers = Answers(Mutex::new(answers.iter().map(parse).collect()));
        GuardedResolver::new(Arc::new(answers), PrivateHosts::parse(private_hosts).unwrap())
    }

    async fn resolved(resolver: &GuardedResolver, host: &str) -> Result<Vec<String>, String> {
        let addresses = resolver.resolve(host.parse().unwrap()).await.map_err(|error| error.to_string())?;
        Ok(addresses.map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn connects_to_checked_addresses_only_when_name_is_rebound() {
        let resolver = resolver(&[&["93.184.216.34"], &["169.254.169.254"], &["10.0.0.1", "93.184.216.34"]], "");
        assert_eq!(resolved(&resolver, "issuer.example").await.unwrap(), ["93.184.216.34"]);
        let error = resolved(&resolver, "issuer.example").await.unwrap_err();
        assert!(error.contains("AA_ATTESTATION_PRIVATE_HOSTS"), "{error}");
        assert_eq!(resolved(&resolver, "issuer.example").await.unwrap(), ["93.184.216.34"]);
    }

    #[tokio::test]
    async fn private_host_may_have_private_address() {
        let resolver = resolver(&[&["10.0.0.1"], &["10.0.0.1"]], "keys.internal");
        assert_eq!(resolved(&resolver, "keys.internal").await.unwrap(), ["10.0.0.1"]);
        assert!(resolved(&resolver, "other.internal").await.is_err());
    }
}
