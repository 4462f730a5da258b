//! Target of the load. Only a broker on this machine, unless remote ones are allowed explicitly.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

/// Address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Value of `Host`.
    pub(crate) host: String,
}

/// Error of a target that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("`{url}` is not `http://host:port`; this tool speaks no TLS, put it beside the broker")]
    NotAnUrl { url: String },
    #[error("`{host}` cannot be resolved: {cause}")]
    Unknown { host: String, cause: String },
    #[error("{address} is not an address of this machine's loopback interface; --allow-remote drives it nevertheless")]
    Remote { address: IpAddr },
}

impl Target {
    pub(crate) fn parse(url: &str, allow_remote: bool) -> Result<Self, TargetError> {
        let malformed = || TargetError::NotAnUrl { url: url.to_owned() };
        let host = url.strip_prefix("http://").ok_or_else(malformed)?.trim_end_matches('/');
        if host.is_empty() || host.contains(|c: char| "/?#@\\".contains(c) || c.is_whitespace() || c.is_control()) {
            return Err(malformed());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let unknown = |cause: String| TargetError::Unknown { host: host.to_owned(), cause };
        let addresses: Vec<SocketAddr> =
            with_port.to_socket_addrs().map_err(|error| unknown(error.to_string()))?.collect();
        let remote = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
        if let Some(remote) = remote.filter(|_| !allow_remote) {
            return Err(TargetError::Remote { address: remote.ip() });
        }
        let address = addresses.first().copied().ok_or_else(|| unknown("it has no address".to_owned()))?;
        Ok(Self { address, host: host.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_loopback_urls() {
        for (url, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("http://127.9.9.9", "127.9.9.9:80"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(Target::parse(url, false).map(|target| target.address), Ok(address.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn rejects_remote_urls_unless_allowed() {
        for url in
            ["http://192.0.2.1:8080", "http://0.0.0.0:8080", "http://[2001:db8::1]:80", "http://[::ffff:192.0.2.1]:1"]
        {
            assert!(matches!(Target::parse(url, false), Err(TargetError::Remote { .. })), "{url}");
            assert!(Target::parse(url, true).is_ok(), "{url}");
        }
    }

    #[test]
    fn rejects_malformed_urls() {
        for url in ["", "127.0.0.1:8080", "https://127.0.0.1", "http://", "http://a@127.0.0.1", "http://127.0.0.1/v1"] {
            let refused = Err(TargetError::NotAnUrl { url: url.to_owned() });
            assert_eq!(Target::parse(url, true), refused, "{url}");
        }
    }
}
