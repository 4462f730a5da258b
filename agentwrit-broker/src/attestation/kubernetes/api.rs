//! Requests to a cluster's API server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agentwrit_verify::http_client::{BodyError, pem, read_body};
use reqwest::{Certificate, Client, Response, StatusCode, Url};
use tokio::{task::spawn_blocking, time::timeout};
use zeroize::Zeroizing;

use crate::attestation::{
    address::KeySetUrl,
    fetch::{FETCH_TIMEOUT, client_settings, innermost},
};

/// Longest token of the broker's service account in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// Settings of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KubernetesSettings {
    /// `AA_KUBERNETES_API_URL`: ends in `/`.
    pub(crate) api_url: Url,
    /// `AA_KUBERNETES_TOKEN_PATH`
    pub(crate) token_path: PathBuf,
    /// `AA_KUBERNETES_CA_PATH`
    pub(crate) ca_path: PathBuf,
    /// `AA_KUBERNETES_WATCH`
    pub(crate) watch: bool,
}

/// Parses the URL of an API server: `https`, or `http` with a literal loopback address, without user, query and fragment.
pub(crate) fn api_server_url(text: &str) -> Option<Url> {
    let mut url = KeySetUrl::parse(text).ok()?.url().clone();
    if url.query().is_some() {
        return None;
    }
    // Paths of resources are joined to it.
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

/// Client of one API server.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesApi {
    client: Client,
    api_url: Url,
    token_path: PathBuf,
}

impl KubernetesApi {
    /// Reads the certificates of the settings, and the token once, to find faults at the start.
    pub(crate) fn open(settings: &KubernetesSettings) -> Result<Self, KubernetesSetupError> {
        let fault = |variable, path: &Path, cause: String| KubernetesSetupError { variable, path: path.into(), cause };
        let ca = |cause| fault("AA_KUBERNETES_CA_PATH", &settings.ca_path, cause);
        let mut authorities = Vec::new();
        if settings.api_url.scheme() == "https" {
            let text = fs::read(&settings.ca_path).map_err(|error| ca(error.to_string()))?;
            for der in pem::certificates(&text).map_err(|error| ca(error.to_string()))? {
                authorities.push(Certificate::from_der(&der).map_err(|error| ca(innermost(&error)))?);
            }
        }
        let client = client_settings().tls_certs_only(authorities).build().map_err(|error| ca(innermost(&error)))?;
        let api = Self { client, api_url: settings.api_url.clone(), token_path: settings.token_path.clone() };
        let token = |cause| fault("AA_KUBERNETES_TOKEN_PATH", &settings.token_path, cause);
        let text = fs::read_to_string(&settings.token_path).map_err(|error| token(error.to_string()))?;
        if usable_token(&text).is_none() {
            return Err(token(String::from("not a token")));
        }
        Ok(api)
    }

    /// Returns whether a URL belongs to this API server.
    pub(crate) fn serves(&self, url: &Url) -> bool {
        url.origin() == self.api_url.origin() && url.path().starts_with(self.api_url.path())
    }

    /// Returns the URL of a resource; `path` has no leading slash.
    pub(super) fn url(&self, path: &str) -> Result<Url, KubernetesError> {
        self.api_url.join(path).map_err(|error| KubernetesError::Unreachable { reason: error.to_string() })
    }

    /// Gets a resource of at most `limit` bytes.
    pub(crate) async fn get(&self, url: Url, limit: usize) -> Result<Vec<u8>, KubernetesError> {
        let mut response = self.open_stream(url, "application/json").await?;
        body(&mut response, limit).await
    }

    /// Begins a response that the caller reads; `accept` is its media type.
    pub(super) async fn open_stream(&self, url: Url, accept: &str) -> Result<Response, KubernetesError> {
        let request = self.client.get(url).header("accept", accept).bearer_auth(&*self.token().await?);
        let response = timeout(FETCH_TIMEOUT, request.send()).await.map_err(|_| KubernetesError::TimedOut)?;
        let response = response.map_err(|error| unreachable(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(KubernetesError::Status(status.as_u16())),
        }
    }

    /// Creates a resource; its response has at most `limit` bytes.
    pub(super) async fn post(&self, url: Url, json: Vec<u8>, limit: usize) -> Result<Vec<u8>, KubernetesError> {
        let request = self.client.post(url).header("content-type", "application/json");
        let request = request.header("accept", "application/json").bearer_auth(&*self.token().await?).body(json);
        let respond = async {
            let response = request.send().await;
            let mut response = response.map_err(|error| unreachable(&error))?;
            match response.status() {
                StatusCode::OK | StatusCode::CREATED => body(&mut response, limit).await,
                status => Err(KubernetesError::Status(status.as_u16())),
            }
        };
        timeout(FETCH_TIMEOUT, respond).await.map_err(|_| KubernetesError::TimedOut)?
    }

    /// Reads the broker's own token.
    pub(super) async fn token(&self) -> Result<Zeroizing<String>, KubernetesError> {
        let fault = |cause: &str| KubernetesError::Token { path: self.token_path.clone(), cause: cause.to_owned() };
        let path = self.token_path.clone();
        let read = spawn_blocking(move || fs::read_to_string(path)).await.map_err(|error| fault(&error.to_string()))?;
        let text = read.map_err(|error| fault(&error.to_string()))?;
        let text = Zeroizing::new(text);
        let token = usable_token(&text).ok_or_else(|| fault("not a token"))?;
        Ok(Zeroizing::new(token.to_owned()))
    }
}

pub(super) async fn body(response: &mut Response, limit: usize) -> Result<Vec<u8>, KubernetesError> {
    match read_body(response, limit, FETCH_TIMEOUT).await {
        Ok(body) => Ok(body.to_vec()),
        Err(BodyError::TooLong { limit }) => Err(KubernetesError::TooLong { limit }),
        Err(BodyError::TimedOut) => Err(KubernetesError::TimedOut),
        Err(BodyError::Broken(error)) => Err(unreachable(&error)),
    }
}

pub(super) fn unreachable(error: &reqwest::Error) -> KubernetesError {
    KubernetesError::Unreachable { reason: innermost(error) }
}

fn usable_token(text: &str) -> Option<&str> {
    let token = text.trim();
    (!token.is_empty() && token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic()))
        .then_some(token)
}

/// Reason why the API server gave no usable response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KubernetesError {
    /// The broker's own token cannot be read.
    #[error("the service account's token `{}` cannot be read: {cause}", .path.display())]
    Token {
        /// `AA_KUBERNETES_TOKEN_PATH`.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
    /// No connection.
    #[error("no connection to the API server: {reason}")]
    Unreachable {
        /// Error of the connection.
        reason: String,
    },
    /// No response in time.
    #[error("the API server does not respond")]
    TimedOut,
    /// Another status than the expected one.
    #[error(
        "the API server responds with status {0}; 401 and 403 mean that the broker's service account lacks a permission"
    )]
    Status(u16),
    /// Too long.
    #[error("the API server's response is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not the resource that was requested.
    #[error("the API server's response is malformed: {reason}")]
    Malformed {
        /// Fault.
        reason: String,
    },
}

/// Reason why the settings of the API server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: `{}` cannot be used: {cause}", .path.display())]
#[non_exhaustive]
pub struct KubernetesSetupError {
    /// The variable.
    pub variable: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Fault.
    pub cause: String,
}
