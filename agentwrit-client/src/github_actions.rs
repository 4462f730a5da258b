//! Assertions of GitHub Actions.

use std::{env, error::Error, time::Duration};

use agentwrit_protocol::{AttestationKind, Secret};
use agentwrit_verify::http_client::{
    Backoff, BodyError, BrokerUrl, ConnectionSettings, is_loopback_host, random_fraction, read_body,
};
use http::{StatusCode, header};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::{
    attestation_source::{AttestationSource, assertion},
    authorization::bearer,
    error::ClientError,
};

const URL_VARIABLE: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN_VARIABLE: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Timeout for an assertion, retries included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Number of requests for one assertion.
const MAX_ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
/// Largest response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
const MAX_DEPTH: usize = 16;

/// ID tokens of a GitHub Actions job, a new one for every registration.
///
/// The job needs the permission `id-token: write`. Requests go to the address that GitHub set, `https` only, without
/// redirects and without proxies from the environment.
///
/// ```no_run
/// use agentwrit_client::{Client, GitHubActionsSource};
///
/// # async fn example() -> Result<(), agentwrit_client::ClientError> {
/// let client = Client::new("https://broker.example")?;
/// let workload = client.attested(GitHubActionsSource::from_env("agentwrit")?);
/// let agent = workload.agent(["write:releases:api"])?.create().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GitHubActionsSource {
    url: Url,
    request_token: Secret,
    connection: ConnectionSettings,
}

/// Body of GitHub's response.
#[derive(Deserialize)]
struct IdToken {
    value: Secret,
}

/// Reason why a request got no assertion.
struct AttemptError {
    reason: String,
    is_transient: bool,
}

impl GitHubActionsSource {
    /// Takes the address and the token of the job from the environment. `audience` is the one in the trust rule.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoAssertion`] outside of a job, and in one without the permission `id-token: write`;
    /// [`ClientError::InvalidInput`] for an unusable address.
    pub fn from_env(audience: &str) -> Result<Self, ClientError> {
        let variable = |name| {
            env::var(name).map_err(|_| {
                let reason =
                    format!("`{name}` is not set: the GitHub Actions job needs `permissions: id-token: write`");
                ClientError::no_assertion(reason)
            })
        };
        Self::new(&variable(URL_VARIABLE)?, variable(TOKEN_VARIABLE)?, audience)
    }

    /// Takes the address (`ACTIONS_ID_TOKEN_REQUEST_URL`) and the token (`ACTIONS_ID_TOKEN_REQUEST_TOKEN`) of the job.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] for an address that is neither `https` nor on this machine, and an empty audience.
    pub fn new(url: &str, request_token: impl Into<Secret>, audience: &str) -> Result<Self, ClientError> {
        let invalid = |reason: &str| ClientError::invalid(URL_VARIABLE, reason);
        if audience.is_empty() {
            return Err(ClientError::invalid("audience", "empty"));
        }
        let mut url = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
        let is_local = url.scheme() == "http" && is_loopback_host(url.host_str().unwrap_or_default());
        if url.scheme() != "https" && !is_local {
            return Err(invalid("it is not `https`"));
        }
        url.query_pairs_mut().append_pair("audience", audience);
        let connection = ConnectionSettings::new(concat!("agentwrit-client/", env!("CARGO_PKG_VERSION")));
        Ok(Self { url, request_token: request_token.into(), connection })
    }

    /// Adds trusted certificate authorities, PEM, for a GitHub Enterprise Server with its own.
    #[must_use]
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.connection.add_root_certificate_pem(pem.into());
        self
    }

    /// Sends requests through this HTTP proxy.
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.connection.proxy(url.into());
        self
    }

    fn http_client(&self) -> Result<reqwest::Client, ClientError> {
        let invalid = |reason: String| ClientError::invalid(URL_VARIABLE, &reason);
        let server = BrokerUrl::parse(&self.url.origin().ascii_serialization());
        let server = server.map_err(|error| invalid(error.to_string()))?;
        self.connection.client(&server).map_err(|error| invalid(error.to_string()))
    }

    async fn request(&self, http: &reqwest::Client) -> Result<Secret, AttemptError> {
        let authorization = bearer(&self.request_token).ok_or_else(|| AttemptError {
            reason: format!("`{TOKEN_VARIABLE}` does not fit into a header"),
            is_transient: false,
        })?;
        let request = http.get(self.url.clone()).header(header::AUTHORIZATION, authorization);
        let mut response =
            request.header(header::ACCEPT, "application/json").send().await.map_err(|error| broken(&error))?;
        let status = response.status();
        if !status.is_success() {
            let is_transient = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let remedy = if is_transient { "" } else { ": its token for the job serves while the job runs" };
            return Err(AttemptError { reason: format!("it responded {}{remedy}", status.as_u16()), is_transient });
        }
        let body = read_body(&mut response, MAX_RESPONSE, TIMEOUT).await.map_err(|error| match error {
            BodyError::Broken(error) => broken(&error),
            other @ (BodyError::TooLong { .. } | BodyError::TimedOut) => {
                AttemptError { reason: format!("its response is unusable: {other}"), is_transient: false }
            }
        })?;
        // The parser's message may quote the token.
        let IdToken { value } = agentwrit_json::object_from_slice(&body, MAX_DEPTH).map_err(|_| AttemptError {
            reason: String::from("its response has no token in the member `value`"),
            is_transient: false,
        })?;
        Ok(value)
    }

    async fn request_repeatedly(&self) -> Result<Secret, AttemptError> {
        let settings = |error: ClientError| AttemptError { reason: error.to_string(), is_transient: false };
        let http = self.http_client().map_err(settings)?;
        let mut failures = 0;
        loop {
            match self.request(&http).await {
                Err(error) if error.is_transient && failures + 1 < MAX_ATTEMPTS => {
                    sleep(BACKOFF.delay(failures, random_fraction())).await;
                    failures += 1;
                }
                attempt => return attempt,
            }
        }
    }
}

impl AttestationSource for GitHubActionsSource {
    fn kind(&self) -> AttestationKind {
        AttestationKind::Oidc
    }

    async fn token(&self) -> Result<Secret, ClientError> {
        let host = self.url.host_str().unwrap_or_default();
        let failed = |reason: &str| ClientError::no_assertion(format!("GitHub's token service at `{host}`: {reason}"));
        let attempt = timeout(TIMEOUT, self.request_repeatedly()).await;
        let token = attempt.map_err(|_| failed(&format!("no response within {TIMEOUT:?}")))?;
        let token = token.map_err(|error| failed(&error.reason))?;
        assertion(token.expose().as_bytes(), &format_args!("the response of GitHub's token service at `{host}`"))
    }
}

/// Error of the connection. The URL in its text is left out.
fn broken(error: &reqwest::Error) -> AttemptError {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    AttemptError { reason: format!("it cannot be reached: {cause}"), is_transient: true }
}
