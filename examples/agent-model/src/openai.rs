//! Client of any server with `OpenAI`'s chat completions.
//!
//! 1. The API key is sent to the configured server only: redirects are not followed. It appears in no error and no
//!    `Debug`.
//! 2. A response must be complete within the timeout and the size limit.
//! 3. Nothing in a response is trusted: arguments that are no JSON object are kept as a string, for the tool to reject.

use std::{env, fmt, sync::Arc, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect,
};

use crate::{Description, Message, Model, ModelError, Planner, Reply, ReplyFuture, ToolSpec};

mod wire;

/// Limit of a response in bytes.
const MAX_RESPONSE: usize = 1 << 20;

/// Limit of a server's error message in characters.
const MAX_MESSAGE: usize = 200;

/// Timeout for a complete response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Client of one model.
pub struct OpenAiClient {
    http: Client,
    completions: Url,
    key: String,
    authorization: HeaderValue,
    timeout: Duration,
    description: Description,
}

impl OpenAiClient {
    /// Builds a client of the server that `LLM_BASE_URL`, `LLM_API_KEY` and `LLM_MODEL` name; none when neither URL nor
    /// key is set.
    ///
    /// # Errors
    ///
    /// When one of the three is missing beside another, or malformed.
    pub fn from_env() -> Result<Option<Self>, ModelError> {
        Self::from_settings(|variable| env::var(variable).ok())
    }

    /// Builds a client from settings by the names of [`from_env`](Self::from_env). An empty setting counts as missing.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, ModelError> {
        let set = |variable| setting(variable).filter(|value| !value.trim().is_empty());
        let (url, key) = match (set("LLM_BASE_URL"), set("LLM_API_KEY")) {
            (None, None) => return Ok(None),
            (Some(url), Some(key)) => (url, key),
            (None, Some(_)) => return Err(missing("LLM_BASE_URL", "is missing beside LLM_API_KEY")),
            (Some(_), None) => return Err(missing("LLM_API_KEY", "is missing beside LLM_BASE_URL")),
        };
        let model = set("LLM_MODEL").ok_or(missing("LLM_MODEL", "is missing beside LLM_BASE_URL"))?;
        Self::new(&url, &key, &model).map(Some)
    }

    /// Builds a client of `model` at `base_url`, which usually ends in `/v1`.
    ///
    /// # Errors
    ///
    /// When URL or key is malformed.
    pub fn new(base_url: &str, key: &str, model: &str) -> Result<Self, ModelError> {
        let invalid_url = missing("LLM_BASE_URL", "must be an http or https URL");
        let completions = format!("{}/chat/completions", base_url.trim().trim_end_matches('/'));
        let completions = Url::parse(&completions).map_err(|_| invalid_url.clone())?;
        if !matches!(completions.scheme(), "http" | "https") || !completions.has_host() {
            return Err(invalid_url);
        }
        let key = key.trim().to_owned();
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| missing("LLM_API_KEY", "has a character that no header can carry"))?;
        authorization.set_sensitive(true);
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(unreachable)?;
        let server = completions.origin().ascii_serialization();
        let description = Description { name: model.trim().to_owned(), server: Some(server) };
        Ok(Self { http, completions, key, authorization, timeout: TIMEOUT, description })
    }

    /// Sets the timeout for a complete response, 60 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn request(&self, messages: &[Message], tools: &[ToolSpec]) -> Result<Reply, ModelError> {
        let body = wire::request(&self.description.name, messages, tools).to_string();
        let request = self
            .http
            .post(self.completions.clone())
            .timeout(self.timeout)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        let response = request.send().await.map_err(|error| self.transport(error))?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        let body = self.read(response).await;
        match status {
            StatusCode::OK => wire::reply(&body?),
            StatusCode::TOO_MANY_REQUESTS => Err(ModelError::RateLimited { retry_after }),
            _ => Err(ModelError::Status { status: status.as_u16(), message: self.message(status, body.ok()) }),
        }
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, ModelError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(error))? {
            if body.len() + chunk.len() > MAX_RESPONSE {
                return Err(ModelError::TooLarge { limit: MAX_RESPONSE });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, error: reqwest::Error) -> ModelError {
        if error.is_timeout() && !error.is_connect() {
            return ModelError::Timeout(self.timeout);
        }
        unreachable(error)
    }

    /// Returns the server's message. Left out where the key was refused: servers echo parts of it.
    fn message(&self, status: StatusCode, body: Option<Vec<u8>>) -> Option<String> {
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return None;
        }
        let message = wire::error_message(&body?)?.replace(&self.key, "[API key]");
        Some(message.chars().filter(|character| !character.is_control()).take(MAX_MESSAGE).collect())
    }
}

/// Returns the language model that the environment names, or the planner.
///
/// # Errors
///
/// As [`OpenAiClient::from_env`].
pub fn model_from_env(planner: impl FnOnce() -> Planner) -> Result<Arc<dyn Model>, ModelError> {
    Ok(match OpenAiClient::from_env()? {
        Some(client) => Arc::new(client),
        None => Arc::new(planner()),
    })
}

impl Model for OpenAiClient {
    fn complete<'a>(&'a self, messages: &'a [Message], tools: &'a [ToolSpec]) -> ReplyFuture<'a> {
        Box::pin(self.request(messages, tools))
    }

    fn description(&self) -> &Description {
        &self.description
    }
}

impl fmt::Debug for OpenAiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiClient").field("description", &self.description).finish_non_exhaustive()
    }
}

fn missing(variable: &'static str, problem: &'static str) -> ModelError {
    ModelError::Setting { variable, problem }
}

/// Formats an error with its cause: alone it says no more than "builder error".
fn unreachable(error: reqwest::Error) -> ModelError {
    // A base URL may hold credentials.
    let error = error.without_url();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    ModelError::Unreachable(format!("{error}{cause}"))
}

fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
