//! Requests for key sets.
//!
//! 1. No redirects, no proxies of the environment, no cookies; 5 s for everything; 200 is the only success.
//! 2. At most 256 KiB of a body are read. The media type is not trusted: what is not a key set is rejected.
//! 3. A URL below `AA_KUBERNETES_API_URL` is fetched as the API server's other resources are: with the cluster's authority
//!    and the broker's service account, which the key set of most clusters requires.
//! 4. Every connection is new: a checked address is never used for long, and an idle one costs the provider nothing.

use std::{error::Error, sync::Arc, time::Duration};

use agentwrit_json::JsonError;
use agentwrit_verify::http_client::{BodyError, read_body};
use reqwest::{Client, ClientBuilder, Response, StatusCode, redirect};
use tokio::time::timeout;

use super::{
    address::{GuardedResolver, KeySetUrl, Lookup, PrivateHosts},
    jwk::JwkSet,
    kubernetes::{KubernetesApi, KubernetesError},
};

/// Timeout for a request and its response.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest key set in bytes.
const MAX_BODY: usize = 256 * 1024;
/// `User-Agent` of all requests of this module.
pub(super) const USER_AGENT: &str = concat!("agentwrit-broker/", env!("CARGO_PKG_VERSION"));

/// Client that fetches key sets.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    /// Clients of `https` and `http`: the latter works on a machine without trusted authorities.
    https: Result<Client, Arc<str>>,
    http: Result<Client, Arc<str>>,
    kubernetes: Option<KubernetesApi>,
}

impl Fetcher {
    pub(super) fn new(lookup: Arc<dyn Lookup>, private_hosts: PrivateHosts, kubernetes: Option<KubernetesApi>) -> Self {
        let resolver = Arc::new(GuardedResolver::new(lookup, private_hosts));
        let client = |builder: ClientBuilder| {
            builder.dns_resolver(Arc::clone(&resolver)).build().map_err(|error| Arc::from(innermost(&error)))
        };
        Self { https: client(client_settings()), http: client(client_settings().tls_certs_only([])), kubernetes }
    }

    /// Fetches a key set.
    pub(super) async fn fetch(&self, url: &KeySetUrl) -> Result<JwkSet, FetchError> {
        let fetched = timeout(FETCH_TIMEOUT, self.request(url)).await.map_err(|_| FetchError::TimedOut)?;
        let body = fetched?;
        let set = JwkSet::parse(&body)?;
        if set.len() == 0 { Err(FetchError::NoUsableKey { unusable: set.unusable() }) } else { Ok(set) }
    }

    async fn request(&self, url: &KeySetUrl) -> Result<Vec<u8>, FetchError> {
        if let Some(api) = self.kubernetes.as_ref().filter(|api| api.serves(url.url())) {
            return Ok(api.get(url.url().clone(), MAX_BODY).await?);
        }
        let client = if url.url().scheme() == "https" { &self.https } else { &self.http };
        let client = client.as_ref().map_err(|reason| FetchError::Setup { reason: Arc::clone(reason) })?;
        let mut response = client.get(url.url().clone()).send().await.map_err(unreachable)?;
        body(&mut response, MAX_BODY).await
    }
}

/// Settings of every client of this module.
pub(super) fn client_settings() -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0)
        .http1_only()
}

async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, FetchError> {
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    match read_body(response, limit, FETCH_TIMEOUT).await {
        Ok(body) => Ok(body.to_vec()),
        Err(BodyError::TooLong { limit }) => Err(FetchError::TooLong { limit }),
        Err(BodyError::TimedOut) => Err(FetchError::TimedOut),
        Err(BodyError::Broken(error)) => Err(unreachable(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to `map_err`")]
fn unreachable(error: reqwest::Error) -> FetchError {
    FetchError::Unreachable { reason: innermost(&error) }
}

/// Returns the message of the error that caused the others.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Reason why a key set was not fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The client cannot be set up: most likely the machine trusts no certificate authority.
    #[error("TLS cannot be set up: {reason}")]
    Setup { reason: Arc<str> },
    #[error("no connection: {reason}")]
    Unreachable { reason: String },
    #[error("no response within 5 s")]
    TimedOut,
    #[error("status {0} instead of 200; redirects are not followed")]
    Status(u16),
    #[error("longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("not a key set: {0}")]
    Malformed(#[from] JsonError),
    #[error("none of its {unusable} keys is usable")]
    NoUsableKey { unusable: usize },
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
}
