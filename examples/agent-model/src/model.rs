//! Interface of models.

use std::{fmt, pin::Pin, time::Duration};

use crate::{Message, Reply, ToolSpec};

/// Future of a reply.
pub type ReplyFuture<'a> = Pin<Box<dyn Future<Output = Result<Reply, ModelError>> + Send + 'a>>;

/// Model that continues a conversation.
pub trait Model: fmt::Debug + Send + Sync + 'static {
    /// Returns the next message of the conversation.
    ///
    /// # Errors
    ///
    /// When the model gives none within its limits.
    fn complete<'a>(&'a self, messages: &'a [Message], tools: &'a [ToolSpec]) -> ReplyFuture<'a>;

    /// Returns what to show to the user about the model.
    fn description(&self) -> &Description;
}

/// Description of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of the model or of the planner.
    pub name: String,
    /// Address of the server without path and credentials; none for a planner.
    pub server: Option<String>,
}

impl Description {
    /// Returns `true` if a language model is in use.
    #[must_use]
    pub fn is_language_model(&self) -> bool {
        self.server.is_some()
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "Language model {} at {server}", self.name),
            None => write!(f, "No language model in use: {} chooses the tools", self.name),
        }
    }
}

/// Failure of a model. No variant holds the API key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Setting of the environment that is missing or malformed.
    #[error("{variable} {problem}")]
    Setting {
        /// Name of the variable.
        variable: &'static str,
        /// The defect.
        problem: &'static str,
    },
    /// No connection, or one that broke.
    #[error("the model's server cannot be reached: {0}")]
    Unreachable(String),
    /// No complete response in time.
    #[error("the model's server did not respond within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// 429.
    #[error("the model's server limits requests{}", retry(*.retry_after))]
    RateLimited {
        /// `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// Any other status than 200.
    #[error("the model's server responded {status}{}", detail(.message.as_deref()))]
    Status {
        /// HTTP status.
        status: u16,
        /// Message of the server, without the API key.
        message: Option<String>,
    },
    /// Response beyond the limit.
    #[error("the model's response is larger than {limit} bytes")]
    TooLarge {
        /// Limit in bytes.
        limit: usize,
    },
    /// Response that is no chat completion.
    #[error("the model's response is not a chat completion: {0}")]
    Malformed(String),
}

fn retry(after: Option<Duration>) -> String {
    after.map(|after| format!("; retry in {} s", after.as_secs())).unwrap_or_default()
}

fn detail(message: Option<&str>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}
