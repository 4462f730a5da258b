//! HTTP transport of requests to the broker.
//!
//! 1. A request has one timeout, from connecting to the last byte of the response, with all retries, which [`retry`]
//!    decides. The time for which it asks the broker to hold it is added.
//! 2. A response is read up to the limit of its request and no further.
//! 3. Connections have the settings of [`http_client`](agentwrit_verify::http_client): no redirects, no proxies from
//!    the environment. A secret is sent to the configured broker only.
//! 4. Each attempt with a bound token has a proof of its own. One that the broker rejects for its nonce or its time is
//!    signed again, once.
//! 5. Request and response bodies are wiped after use, because they hold secrets.
//!
//! Below this, the HTTP library moves a request to another connection when a kept-alive one turns out to be closed. The
//! broker never received such a request.

use std::{fmt, sync::Arc, time::Duration};

use agentwrit_verify::http_client::{
    BodyError, BrokerUrl, ConnectionSettings, SettingsError, TransportError, TransportErrorKind, random_fraction,
    read_body,
};
use http::{HeaderMap, header};
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    credentials::{Attempt, ProofStatus, ProofTarget, RequestCredentials},
    error::ClientError,
    request::{ApiRequest, ApiResponse},
    retry::{self, AttemptStatus, RetryDelay, RetryState},
};

/// Address of the broker, connection settings and timeouts.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) broker_url: String,
    pub(crate) connection: ConnectionSettings,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// Maximum number of retries of a request.
    pub(crate) retries: u32,
    pub(crate) observer: DelayObserver,
}

/// Observer of the delays that the broker causes.
#[derive(Clone, Default)]
pub(crate) struct DelayObserver(Option<Arc<ObserveDelay>>);

type ObserveDelay = dyn Fn(&RetryDelay) + Send + Sync;

impl DelayObserver {
    pub(crate) fn new(observer: impl Fn(&RetryDelay) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    fn notify(&self, delay: &RetryDelay) {
        if let Some(observer) = &self.0 {
            observer(delay);
        }
    }
}

impl fmt::Debug for DelayObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DelayObserver").field(&self.0.is_some()).finish()
    }
}

impl Endpoint {
    pub(crate) fn new(broker_url: String) -> Self {
        let connection = ConnectionSettings::new(concat!("agentwrit-client/", env!("CARGO_PKG_VERSION")));
        let (timeout, connect_timeout) = (Duration::from_secs(10), ConnectionSettings::DEFAULT_CONNECT_TIMEOUT);
        Self { broker_url, connection, timeout, connect_timeout, retries: 2, observer: DelayObserver::default() }
    }
}

/// Connection pool to one broker. Clones share it.
#[derive(Clone)]
pub(crate) struct Transport {
    http: Client,
    base: BrokerUrl,
    has_proxy: bool,
    timeout: Duration,
    connect_timeout: Duration,
    retries: u32,
    observer: DelayObserver,
}

impl Transport {
    pub(crate) fn connect_lazily(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let base =
            BrokerUrl::parse(&endpoint.broker_url).map_err(|error| ClientError::invalid("broker URL", &error))?;
        let mut connection = endpoint.connection.clone();
        connection.connect_timeout(endpoint.connect_timeout);
        let http = connection.client(&base).map_err(|error| invalid_setting(&error))?;
        let Endpoint { timeout, connect_timeout, retries, .. } = *endpoint;
        Ok(Self {
            http,
            base,
            has_proxy: connection.has_proxy(),
            timeout,
            connect_timeout,
            retries,
            observer: endpoint.observer.clone(),
        })
    }

    pub(crate) fn base(&self) -> &str {
        self.base.as_str()
    }

    /// Returns `true` if requests cross a network without encryption.
    pub(crate) fn sends_cleartext(&self) -> bool {
        !self.base.is_https() && (!self.base.is_loopback() || self.has_proxy)
    }

    /// Sends a request and decodes the body of a success.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        request: &ApiRequest,
        credentials: Option<&RequestCredentials>,
    ) -> Result<T, ClientError> {
        self.exchange(request, credentials).await?.error_for_status(request)?.decode(request)
    }

    /// Sends a request, again where that is safe, and returns the last response, whatever its status.
    pub(crate) async fn exchange(
        &self,
        request: &ApiRequest,
        credentials: Option<&RequestCredentials>,
    ) -> Result<ApiResponse, ClientError> {
        let begun = Instant::now();
        let limit = self.timeout.saturating_add(request.wait);
        let remaining = || limit.saturating_sub(begun.elapsed());
        let mut retries = 0;
        let mut signed_again = false;
        loop {
            let attempt = self.attempt(request, credentials, remaining()).await;
            // The broker processed nothing.
            if attempt.as_ref().is_ok_and(|response| response.proof == ProofStatus::Outdated)
                && !std::mem::replace(&mut signed_again, true)
            {
                continue;
            }
            let status =
                attempt.as_ref().map_or_else(|failed| failed.status, |response| response.attempt_status(request));
            let state = RetryState {
                idempotent: request.idempotent,
                retries,
                max_retries: self.retries,
                remaining: remaining(),
            };
            let Some(delay) = retry::delay(status, state, random_fraction()) else {
                return attempt.map_err(|failed| failed.error);
            };
            tracing::debug!(method = %request.method, path = request.path, ?status, ?delay, "request is sent again");
            if let Ok(response) = &attempt {
                self.observer.notify(&RetryDelay { status: response.status.as_u16(), duration: delay });
            }
            tokio::time::sleep(delay).await;
            retries += 1;
        }
    }

    async fn attempt(
        &self,
        request: &ApiRequest,
        credentials: Option<&RequestCredentials>,
        timeout: Duration,
    ) -> Result<ApiResponse, AttemptError> {
        let url = format!("{}{}", self.base.as_str(), request.path);
        let mut builder = self.http.request(request.method.clone(), &url).timeout(timeout);
        let mut proof = Attempt::default();
        if let Some(credentials) = credentials {
            let mut headers = HeaderMap::new();
            let signed = Url::parse(&url)
                .map_err(|error| ClientError::invalid("broker URL", &error))
                .and_then(|url| credentials.add_to(&mut headers, &request.method, &ProofTarget::of_url(&url)));
            proof = signed.map_err(|error| AttemptError { error, status: AttemptStatus::Final })?;
            builder = builder.headers(headers);
        }
        if let Some(body) = &request.body {
            builder = builder.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = builder.send().await.map_err(|error| self.transport_error(&error, request))?;
        let response = self.read(request, response).await?;
        Ok(response.judge_proof(&proof))
    }

    async fn read(&self, request: &ApiRequest, mut response: Response) -> Result<ApiResponse, AttemptError> {
        // The request's own time limit goes on until the last byte.
        let body = read_body(&mut response, request.max_response_bytes, Duration::MAX).await;
        let body = body.map_err(|error| match error {
            BodyError::Broken(error) => self.transport_error(&error, request),
            BodyError::TimedOut => self.timed_out(request),
            too_long @ BodyError::TooLong { .. } => {
                AttemptError { error: request.malformed(&too_long), status: AttemptStatus::Final }
            }
        })?;
        Ok(ApiResponse::new(response.status(), std::mem::take(response.headers_mut()), body))
    }

    fn transport_error(&self, error: &reqwest::Error, request: &ApiRequest) -> AttemptError {
        let TransportError { kind, reason, sent, .. } = TransportError::of(error, self.base.is_https());
        let status = if sent { AttemptStatus::Unknown } else { AttemptStatus::NotSent };
        if kind == TransportErrorKind::Timeout {
            return self.timed_out(request);
        }
        let no_connection = format!("no connection within {:?}", self.connect_timeout);
        let reason = if kind == TransportErrorKind::ConnectTimeout { no_connection } else { reason };
        AttemptError { error: ClientError::Unreachable { reason, kind }, status }
    }

    fn timed_out(&self, request: &ApiRequest) -> AttemptError {
        let after = self.timeout.saturating_add(request.wait);
        AttemptError { error: ClientError::Timeout { after }, status: AttemptStatus::Unknown }
    }
}

fn invalid_setting(error: &SettingsError) -> ClientError {
    match error {
        SettingsError::RootCertificate(error) => ClientError::invalid("root certificate", error),
        SettingsError::ClientIdentity(error) => ClientError::invalid("client identity", error),
        SettingsError::CertificatesWithoutTls => ClientError::invalid("broker URL", error),
        SettingsError::Proxy(error) => ClientError::invalid("proxy", error),
        SettingsError::Tls { reason } => ClientError::invalid("TLS configuration", reason),
        other => ClientError::invalid("connection", other),
    }
}

/// Error of an attempt without a response.
struct AttemptError {
    error: ClientError,
    status: AttemptStatus,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base", &self.base())
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
