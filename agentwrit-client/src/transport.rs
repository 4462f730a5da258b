//! Calls to the broker over HTTP.
//!
//! 1. A call has one time limit, from connecting to the last byte of the answer, however often it is sent: [`retry`] says
//!    when it is sent again.
//! 2. An answer is read up to [`MAX_ANSWER`] and no further.
//! 3. Redirects are not followed and proxies from the environment are not used: a secret goes to the broker that was
//!    named, or nowhere.
//! 4. Request and answer bodies are wiped after use; they hold secrets.
//!
//! Below this, HTTP itself hands a request to another connection when the one it was meant for gave it back untouched: a
//! kept-alive connection that had ended, a stream refused by HTTP/2 (RFC 9113 §8.7). The broker never saw such a request.

use std::{fmt, time::Duration};

use http::{HeaderValue, header};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, Url, redirect};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    call::{Answer, Call},
    error::ClientError,
    retry::{self, Ending, Standing},
};

/// The largest answer that is read: 4 MiB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where the broker is, how to reach it and how long to wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) broker_url: String,
    pub(crate) tls: Tls,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// How often a call is sent again at most.
    pub(crate) retries: u32,
}

impl Endpoint {
    pub(crate) fn new(broker_url: String) -> Self {
        let (timeout, connect_timeout) = (Duration::from_secs(10), Duration::from_secs(5));
        Self { broker_url, tls: Tls::default(), timeout, connect_timeout, retries: 2 }
    }
}

/// What a connection to the broker is made with.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// PEM, one or several certificates each.
    pub(crate) root_certificates: Vec<Vec<u8>>,
    /// PEM, a private key and its certificates.
    pub(crate) client_identity: Option<Zeroizing<Vec<u8>>>,
}

impl Tls {
    fn applied_to(&self, mut http: ClientBuilder, base: &str) -> Result<ClientBuilder, ClientError> {
        let bad = |field: &'static str, error: reqwest::Error| ClientError::invalid(field, &causes(&error));
        if base.starts_with("http://") {
            if !self.root_certificates.is_empty() || self.client_identity.is_some() {
                return Err(ClientError::invalid("broker URL", "certificates are for `https`, and this is `http`"));
            }
            // Without TLS there is no reason to load the system's roots, or to fail where there are none.
            return Ok(http.tls_certs_only([]));
        }
        for pem in &self.root_certificates {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|error| bad("root certificate", error))?;
            if certificates.is_empty() {
                return Err(ClientError::invalid("root certificate", "there is no certificate in the PEM"));
            }
            http = http.tls_certs_merge(certificates);
        }
        if let Some(pem) = &self.client_identity {
            http = http.identity(Identity::from_pem(pem).map_err(|error| bad("client identity", error))?);
        }
        Ok(http)
    }
}

impl fmt::Debug for Tls {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("root_certificates", &self.root_certificates.len())
            .field("client_identity", &self.client_identity.is_some())
            .finish()
    }
}

/// A connection pool to one broker. Clones share it.
#[derive(Clone)]
pub(crate) struct Transport {
    http: Client,
    base: String,
    timeout: Duration,
    connect_timeout: Duration,
    retries: u32,
}

impl Transport {
    pub(crate) fn connect_lazily(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let base = broker_url(&endpoint.broker_url)?;
        let mut http = Client::builder()
            .user_agent(concat!("agentwrit-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(endpoint.connect_timeout)
            .redirect(redirect::Policy::none())
            .no_proxy();
        http = endpoint.tls.applied_to(http, &base)?;
        let http = http.build().map_err(|error| ClientError::invalid("TLS configuration", &causes(&error)))?;
        let Endpoint { timeout, connect_timeout, retries, .. } = *endpoint;
        Ok(Self { http, base, timeout, connect_timeout, retries })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends `call` and decodes what a success answers.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        call: &Call,
        bearer: Option<&HeaderValue>,
    ) -> Result<T, ClientError> {
        self.exchange(call, bearer).await?.accepted(call)?.decode(call)
    }

    /// Sends `call`, as often as it takes and is safe, and takes the last answer as it is.
    pub(crate) async fn exchange(&self, call: &Call, bearer: Option<&HeaderValue>) -> Result<Answer, ClientError> {
        let begun = Instant::now();
        let left = || self.timeout.saturating_sub(begun.elapsed());
        let mut repeats = 0;
        loop {
            let attempt = self.attempt(call, bearer, left()).await;
            let ending = attempt.as_ref().map_or_else(|broken| broken.ending, |answer| answer.ending(call));
            let standing = Standing { repeatable: call.repeatable, repeats, most: self.retries, left: left() };
            let Some(pause) = retry::pause(ending, standing, retry::chance()) else {
                return attempt.map_err(|broken| broken.error);
            };
            tracing::debug!(method = %call.method, path = call.path, ?ending, ?pause, "a call is sent again");
            tokio::time::sleep(pause).await;
            repeats += 1;
        }
    }

    async fn attempt(&self, call: &Call, bearer: Option<&HeaderValue>, within: Duration) -> Result<Answer, Broken> {
        let mut request = self.http.request(call.method.clone(), format!("{}{}", self.base, call.path)).timeout(within);
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        self.read(call, response).await
    }

    async fn read(&self, call: &Call, mut response: Response) -> Result<Answer, Broken> {
        let too_large =
            || Broken { error: call.malformed(&format!("larger than {MAX_ANSWER} bytes")), ending: Ending::Answered };
        let announced = response.content_length().unwrap_or(0);
        let announced = usize::try_from(announced).ok().filter(|length| *length <= MAX_ANSWER);
        let mut body = Zeroizing::new(Vec::with_capacity(announced.ok_or_else(too_large)?));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if chunk.len() > MAX_ANSWER.saturating_sub(body.len()) {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer::new(response.status(), std::mem::take(response.headers_mut()), body))
    }

    fn broken(&self, error: &reqwest::Error) -> Broken {
        let ending = if error.is_connect() { Ending::NotSent } else { Ending::Unclear };
        let error = match (error.is_connect(), error.is_timeout()) {
            (true, true) => {
                ClientError::Unreachable { reason: format!("no connection within {:?}", self.connect_timeout) }
            }
            (false, true) => ClientError::Timeout { after: self.timeout },
            (_, false) => ClientError::Unreachable { reason: causes(error) },
        };
        Broken { error, ending }
    }
}

/// An attempt that came to no answer.
struct Broken {
    error: ClientError,
    ending: Ending,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base", &self.base)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// The broker's address without a trailing slash. What could carry a secret into a log, or a request elsewhere, is
/// refused.
fn broker_url(given: &str) -> Result<String, ClientError> {
    let invalid = |reason: &str| ClientError::invalid("broker URL", reason);
    let url = Url::parse(given).map_err(|error| ClientError::invalid("broker URL", &error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("scheme is neither `http` nor `https`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not hold credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("must not have a query or a fragment"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// `reqwest` hides the reason in the chain of sources; the outermost message alone says nothing.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_url_is_normalised_or_refused() {
        for (given, expected) in [
            ("http://127.0.0.1:8080", Ok("http://127.0.0.1:8080")),
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080")),
            ("https://broker.example/agentwrit/", Ok("https://broker.example/agentwrit")),
            ("", Err("relative URL without a base")),
            ("ftp://broker.example", Err("scheme is neither `http` nor `https`")),
            ("http://user:secret@broker.example", Err("must not hold credentials")),
            ("http://user@broker.example", Err("must not hold credentials")),
            ("http://broker.example/?a=b", Err("must not have a query or a fragment")),
            ("http://broker.example/#a", Err("must not have a query or a fragment")),
        ] {
            let expected = expected
                .map(str::to_owned)
                .map_err(|reason: &str| ClientError::InvalidInput { field: "broker URL", reason: reason.to_owned() });
            assert_eq!(broker_url(given), expected, "{given}");
        }
    }
}
