//! The address of a broker.

use std::{fmt, net::IpAddr};

use reqwest::Url;

/// The base address of a broker: `http` or `https`, a host, and a path if a proxy puts the broker below one.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(Url);

impl BrokerUrl {
    /// Parses an address; rejects a query or fragment and ignores a trailing slash.
    ///
    /// # Errors
    ///
    /// [`BrokerUrlError`] with the reason and the expected form.
    pub fn parse(given: &str) -> Result<Self, BrokerUrlError> {
        let url = Self::with_query(given)?;
        if !url.0.username().is_empty() || url.0.password().is_some() {
            return Err(BrokerUrlError::Credentials);
        }
        if url.0.query().is_some() || url.0.fragment().is_some() {
            return Err(BrokerUrlError::Query);
        }
        Ok(url)
    }

    /// Reads an address that may carry credentials, a query or a fragment; the latter two are dropped.
    pub(crate) fn with_query(given: &str) -> Result<Self, BrokerUrlError> {
        let no_scheme = || BrokerUrlError::NoScheme { given: without_userinfo(given.trim()) };
        match Url::parse(given) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self(url)),
            // `localhost:8080` reads as scheme `localhost` and path `8080`.
            Ok(url) if url.cannot_be_a_base() && begins_with_port(url.path()) => Err(no_scheme()),
            Ok(url) => Err(BrokerUrlError::Scheme { scheme: url.scheme().to_owned() }),
            Err(_) if !given.trim().is_empty() && !given.contains("://") => Err(no_scheme()),
            Err(error) => Err(BrokerUrlError::Malformed { reason: error.to_string() }),
        }
    }

    /// The address without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// Returns true for `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns true when the host is this machine: `localhost` or a loopback address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.0.host_str().unwrap_or_default())
    }

    /// The address of `path` below this one.
    #[cfg(feature = "remote")]
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url.set_query(None);
        url.set_fragment(None);
        url
    }
}

impl fmt::Debug for BrokerUrl {
    /// Omits user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BrokerUrl").field(&without_userinfo(self.as_str())).finish()
    }
}

impl fmt::Display for BrokerUrl {
    /// Omits user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_userinfo(self.as_str()))
    }
}

/// Reason why a text is not the address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerUrlError {
    /// `host:port` alone.
    #[error("`{given}` has no scheme: write `http://{given}`, or `https://{given}` for a broker with TLS")]
    NoScheme {
        /// The address.
        given: String,
    },
    /// Another protocol.
    #[error("scheme is `{scheme}`, not `http` or `https`")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// Malformed URL.
    #[error("{reason}")]
    Malformed {
        /// Message of the URL parser.
        reason: String,
    },
    /// A user's name or password, which would end up in logs.
    #[error("must not hold credentials")]
    Credentials,
    /// A query or a fragment.
    #[error("must not have a query or a fragment")]
    Query,
}

/// Removes user name and password from a text that may not be a URL.
pub(crate) fn without_userinfo(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}")
}

/// Returns true when a URL's host (lower case, IPv6 in brackets) is this machine.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

fn begins_with_port(path: &str) -> bool {
    let port = path.split('/').next().unwrap_or_default();
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_normalised_or_rejected_with_the_reason() {
        let no_scheme = |given: &str| {
            Err(format!("`{given}` has no scheme: write `http://{given}`, or `https://{given}` for a broker with TLS"))
        };
        let rejected = |reason: &str| Err(reason.to_owned());
        for (given, expected) in [
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080")),
            ("https://broker.example/agentwrit/", Ok("https://broker.example/agentwrit")),
            ("127.0.0.1:8080", no_scheme("127.0.0.1:8080")),
            ("localhost:8080", no_scheme("localhost:8080")),
            ("broker.example", no_scheme("broker.example")),
            ("broker.example:8443/agentwrit", no_scheme("broker.example:8443/agentwrit")),
            ("[::1]:8080", no_scheme("[::1]:8080")),
            ("user:secret@broker.example:80", rejected("scheme is `user`, not `http` or `https`")),
            ("", rejected("relative URL without a base")),
            ("http://", rejected("empty host")),
            ("http://broker.example:port", rejected("invalid port number")),
            ("ftp://broker.example", rejected("scheme is `ftp`, not `http` or `https`")),
            ("http://user:secret@broker.example", rejected("must not hold credentials")),
            ("http://user@broker.example", rejected("must not hold credentials")),
            ("http://broker.example/?a=b", rejected("must not have a query or a fragment")),
            ("http://broker.example/#a", rejected("must not have a query or a fragment")),
        ] {
            let url = BrokerUrl::parse(given).map_err(|error| error.to_string());
            assert_eq!(url.as_ref().map(BrokerUrl::as_str).map_err(Clone::clone), expected, "{given}");
        }
    }

    #[test]
    fn loopback_addresses_are_told_from_other_machines() {
        for (url, loopback) in [
            ("http://127.0.0.2:1", true),
            ("http://[::1]", true),
            ("http://localhost", true),
            ("http://localhost.example", false),
            ("http://192.0.2.1", false),
        ] {
            assert_eq!(BrokerUrl::parse(url).unwrap().is_loopback(), loopback, "{url}");
        }
    }
}
