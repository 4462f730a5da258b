//! Calls to the broker over HTTP.
//!
//! 1. A call has one time limit, from connecting to the last byte of the answer, however often it is sent: [`retry`] says
//!    when it is sent again.
//! 2. An answer is read up to the limit of its call and no further.
//! 3. Connections are made as [`http_client`](agentwrit_verify::http_client) says: no redirects, no proxies from the
//!    environment. A secret goes to the broker that was named, or nowhere.
//! 4. Request and answer bodies are wiped after use; they hold secrets.
//!
//! Below this, HTTP itself hands a request to another connection when the one it was meant for gave it back untouched: a
//! kept-alive connection that had ended, a stream refused by HTTP/2 (RFC 9113 §8.7). The broker never saw such a request.

use std::{fmt, sync::Arc, time::Duration};

use agentwrit_verify::http_client::{
    BodyError, BrokerUrl, ConnectionSettings, SettingsError, TransportError, TransportErrorKind, random_fraction,
    read_body,
};
use http::{HeaderValue, header};
use reqwest::{Client, Response};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    call::{Answer, Call},
    error::ClientError,
    retry::{self, Ending, Pause, Standing},
};

/// Where the broker is, how to reach it and how long to wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) broker_url: String,
    pub(crate) connection: ConnectionSettings,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// How often a call is sent again at most.
    pub(crate) retries: u32,
    pub(crate) observer: PauseObserver,
}

/// Is told of pauses that the broker asks for.
#[derive(Clone, Default)]
pub(crate) struct PauseObserver(Option<Arc<ObservePause>>);

type ObservePause = dyn Fn(&Pause) + Send + Sync;

impl PauseObserver {
    pub(crate) fn new(observer: impl Fn(&Pause) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    fn tell(&self, pause: &Pause) {
        if let Some(observer) = &self.0 {
            observer(pause);
        }
    }
}

impl fmt::Debug for PauseObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PauseObserver").field(&self.0.is_some()).finish()
    }
}

impl Endpoint {
    pub(crate) fn new(broker_url: String) -> Self {
        let connection = ConnectionSettings::new(concat!("agentwrit-client/", env!("CARGO_PKG_VERSION")));
        let (timeout, connect_timeout) = (Duration::from_secs(10), ConnectionSettings::DEFAULT_CONNECT_TIMEOUT);
        Self { broker_url, connection, timeout, connect_timeout, retries: 2, observer: PauseObserver::default() }
    }
}

/// A connection pool to one broker. Clones share it.
#[derive(Clone)]
pub(crate) struct Transport {
    http: Client,
    base: BrokerUrl,
    has_proxy: bool,
    timeout: Duration,
    connect_timeout: Duration,
    retries: u32,
    observer: PauseObserver,
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

    /// Whether everyone on the way can read along.
    pub(crate) fn is_exposed(&self) -> bool {
        !self.base.is_https() && (!self.base.is_loopback() || self.has_proxy)
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
            let Some(pause) = retry::pause(ending, standing, random_fraction()) else {
                return attempt.map_err(|broken| broken.error);
            };
            tracing::debug!(method = %call.method, path = call.path, ?ending, ?pause, "a call is sent again");
            if let Ok(answer) = &attempt {
                self.observer.tell(&Pause { status: answer.status.as_u16(), lasts: pause });
            }
            tokio::time::sleep(pause).await;
            repeats += 1;
        }
    }

    async fn attempt(&self, call: &Call, bearer: Option<&HeaderValue>, within: Duration) -> Result<Answer, Broken> {
        let mut request =
            self.http.request(call.method.clone(), format!("{}{}", self.base.as_str(), call.path)).timeout(within);
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
        // The request's own time limit goes on until the last byte.
        let body = read_body(&mut response, call.longest_answer, Duration::MAX).await.map_err(|error| match error {
            BodyError::Broken(error) => self.broken(&error),
            BodyError::TimedOut => self.late(),
            too_long @ BodyError::TooLong { .. } => {
                Broken { error: call.malformed(&too_long), ending: Ending::Answered }
            }
        })?;
        Ok(Answer::new(response.status(), std::mem::take(response.headers_mut()), body))
    }

    fn broken(&self, error: &reqwest::Error) -> Broken {
        let TransportError { kind, reason, sent, .. } = TransportError::of(error, self.base.is_https());
        let ending = if sent { Ending::Unclear } else { Ending::NotSent };
        if kind == TransportErrorKind::Timeout {
            return self.late();
        }
        let waited = format!("no connection within {:?}", self.connect_timeout);
        let reason = if kind == TransportErrorKind::ConnectTimeout { waited } else { reason };
        Broken { error: ClientError::Unreachable { reason, kind }, ending }
    }

    fn late(&self) -> Broken {
        Broken { error: ClientError::Timeout { after: self.timeout }, ending: Ending::Unclear }
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

/// An attempt that came to no answer.
struct Broken {
    error: ClientError,
    ending: Ending,
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
