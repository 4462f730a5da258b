//! Selection of the requests that receive the token.
//!
//! 1. A token is sent to the given origins only (scheme, host and port: RFC 6454): other requests pass unchanged.
//! 2. Over plain `http` it is sent to this machine only, unless [`Origins::accept_plain_http`] was chosen.
//! 3. An existing `Authorization` header stays.
//! 4. Without a token that is valid by local knowledge, the request is not sent. A 401 causes no retry, since its meaning
//!    depends on the request, except one that rejects the proof for its nonce or its time.

use std::sync::Arc;

use agentwrit_verify::http_client::is_loopback_host;
use http::{HeaderMap, Method, header};
use reqwest::Url;

use crate::{
    agent::Agent,
    at_least::AtLeast,
    credentials::{Attempt, ProofTarget, RequestCredentials},
    delegated_token::DelegatedToken,
    error::ClientError,
    live_agent::LiveAgent,
};

/// Provider of the credentials for each request.
pub trait AuthorizationProvider: Send + Sync + 'static {
    /// Returns the current credentials.
    ///
    /// # Errors
    ///
    /// The reason for which there is no valid token.
    fn credentials(&self) -> Result<RequestCredentials, ClientError>;
}

impl AuthorizationProvider for Agent {
    /// Returns an error once the token has expired.
    fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        if self.clock().now() >= self.expires_at() {
            return Err(ClientError::no_token("it has expired"));
        }
        self.credentials()
    }
}

impl AuthorizationProvider for LiveAgent {
    fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        self.agent()?.credentials()
    }
}

impl AuthorizationProvider for DelegatedToken {
    /// Returns the credentials also of an expired token: only the resource server's clock decides. A token that is
    /// bound to the delegate's key is an error: the delegate accepts it, and is the provider.
    fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        self.credentials()
    }
}

impl<S: AuthorizationProvider + ?Sized> AuthorizationProvider for Arc<S> {
    fn credentials(&self) -> Result<RequestCredentials, ClientError> {
        self.as_ref().credentials()
    }
}

/// Origins that a token may be sent to.
///
/// ```
/// use agentwrit_client::Origins;
///
/// let origins = Origins::new(["https://records.example", "https://labs.example:8443", "http://localhost:8081"])?;
/// assert!(Origins::new(["http://records.example"]).is_err(), "everyone on the way would read the token");
/// # Ok::<(), agentwrit_client::ClientError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(Arc<[Origin]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    /// In the form of a URL: lower case, IPv6 in brackets.
    host: String,
    port: u16,
}

impl Origins {
    /// Accepts one or more origins: `https://host`, with a port other than the default, or `http://` on this machine
    /// (`localhost`, a loopback address).
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when there is none, or one is not an origin or would expose the token in cleartext
    /// on a network.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, ClientError> {
        let origins = Self::accept_plain_http(origins)?;
        match origins.0.iter().find(|origin| origin.scheme == "http" && !is_loopback_host(&origin.host)) {
            Some(Origin { host, .. }) => {
                Err(invalid(&format!("`http://{host}` would carry the token in clear over the network")))
            }
            None => Ok(origins),
        }
    }

    /// Accepts `http://` to other machines too: every hop on the network can read the token and use it until it
    /// expires.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when there is none, or one is not an origin.
    pub fn accept_plain_http<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, ClientError> {
        let origins =
            origins.into_iter().map(|origin| Origin::parse(origin.as_ref())).collect::<Result<Arc<_>, _>>()?;
        if origins.is_empty() { Err(invalid("at least one is needed")) } else { Ok(Self(origins)) }
    }

    /// Returns `true` if a request to this target receives the token. A host in another spelling is another host.
    fn contain(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let usual = match scheme {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        };
        let Some(port) = port.or(usual) else { return false };
        self.0
            .iter()
            .any(|origin| origin.scheme == scheme && origin.port == port && origin.host.eq_ignore_ascii_case(host))
    }
}

impl Origin {
    fn parse(given: &str) -> Result<Self, ClientError> {
        // The input may hold credentials, so the error does not quote it.
        let url = Url::parse(given).map_err(|error| invalid(&error.to_string()))?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        match (url.scheme(), url.host_str(), url.port_or_known_default()) {
            (scheme @ ("http" | "https"), Some(host), Some(port)) if bare && !host.contains('*') => {
                Ok(Self { scheme: scheme.to_owned(), host: host.to_owned(), port })
            }
            _ => Err(invalid("an origin is `https://`, a host and perhaps a port, and nothing else")),
        }
    }
}

/// Shared part of the layer and the middleware.
#[derive(Clone)]
pub(crate) struct RequestAuthorizer {
    source: Arc<dyn AuthorizationProvider>,
    origins: Origins,
    at_least: AtLeast,
}

impl RequestAuthorizer {
    pub(crate) fn new(source: impl AuthorizationProvider, origins: Origins) -> Self {
        Self { source: Arc::new(source), origins, at_least: AtLeast::new() }
    }

    /// Requires the cursor of `at_least` of the services at the origins.
    pub(crate) fn at_least(mut self, at_least: &AtLeast) -> Self {
        self.at_least = at_least.clone();
        self
    }

    /// Adds the token, and the proof of a bound one, to the `headers` of a request, if its target receives one.
    pub(crate) fn authorize(
        &self,
        headers: &mut HeaderMap,
        method: &Method,
        (scheme, host, port, path): (&str, &str, Option<u16>, &str),
    ) -> Result<Attempt, ClientError> {
        if !self.origins.contain(scheme, host, port) {
            return Ok(Attempt::default());
        }
        self.at_least.require(headers);
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(Attempt::default());
        }
        self.source.credentials()?.add_to(headers, method, &ProofTarget::new(scheme, host, port, path))
    }
}

impl std::fmt::Debug for RequestAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestAuthorizer").field("origins", &self.origins).finish_non_exhaustive()
    }
}

fn invalid(reason: &str) -> ClientError {
    ClientError::invalid("origin", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_scheme_host_and_port() {
        let origins =
            Origins::new(["https://Records.Example/", "https://labs.example:8443", "http://[::1]:80"]).unwrap();
        for (scheme, host, port, contained) in [
            ("https", "records.example", None, true),
            ("https", "records.example", Some(443), true),
            ("https", "RECORDS.example", None, true),
            ("https", "labs.example", Some(8443), true),
            ("http", "[::1]", None, true),
            ("http", "records.example", None, false),
            ("http", "records.example", Some(443), false),
            ("https", "records.example", Some(8443), false),
            ("https", "labs.example", None, false),
            ("https", "evil.records.example", None, false),
            ("https", "records.example.evil", None, false),
            ("https", "records.example.", None, false),
            ("https", "records%2Eexample", None, false),
            ("https", "", None, false),
            ("wss", "records.example", Some(443), false),
            ("ftp", "records.example", None, false),
        ] {
            assert_eq!(origins.contain(scheme, host, port), contained, "{scheme}://{host}:{port:?}");
        }
    }

    #[test]
    fn rejects_invalid_origins() {
        for given in [
            "",
            "records.example",
            "ftp://records.example",
            "https://",
            "https://records.example/v1",
            "https://records.example?a",
            "https://records.example#a",
            "https://user@records.example",
            "https://user:secret@records.example",
            "data:text/plain,x",
            "*",
            "https://*",
            "https://*.records.example",
            "https://user:secret@",
        ] {
            let error = Origins::accept_plain_http([given]).unwrap_err();
            assert!(matches!(&error, ClientError::InvalidInput { field: "origin", .. }), "{error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert!(Origins::new(Vec::<String>::new()).is_err());
    }

    #[test]
    fn accepts_plain_http_on_loopback_only_by_default() {
        for (given, here) in [
            ("http://localhost", true),
            ("http://localhost:8080", true),
            ("http://127.0.0.1:8080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8080", true),
            ("http://records.example", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
            ("http://[::]", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(Origins::new([given]).is_ok(), here, "{given}");
            assert!(Origins::accept_plain_http([given]).is_ok(), "{given}");
        }
    }
}
