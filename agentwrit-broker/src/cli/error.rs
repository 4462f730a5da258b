//! How a command fails, and what a person is told then.

use std::{fmt::Display, io, path::Path, process::ExitCode};

use agentwrit_client::ClientError;

use crate::{
    audit::text::printable,
    stdio::{self, note},
};

/// Why a command did not come to a good end.
#[derive(Debug)]
pub(super) enum CliError {
    /// It could not be done: exit code 1.
    Failed { message: String, hint: Option<String>, request_id: Option<String> },
    /// It makes no sense to ask this: exit code 2.
    Usage(String),
    /// It was done, and the answer, which is on stdout already, is no: exit code 3. Text for stderr, if there is more.
    No(Option<String>),
    /// The reader of stdout has closed it: exit code 141.
    Unread,
}

impl CliError {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None, request_id: None }
    }

    pub(super) fn file(path: &Path, reason: &dyn Display) -> Self {
        Self::failed(format!("`{}`: {reason}", path.display()))
    }

    /// Adds what to do next.
    pub(super) fn hint(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, request_id, .. } => Self::Failed { message, hint: Some(advice.into()), request_id },
            other @ (Self::Usage(_) | Self::No(_) | Self::Unread) => other,
        }
    }

    /// What a verdict comes to: a no is a no, whether anybody reads it (`shown`) or not.
    pub(super) fn judged(yes: bool, shown: Result<(), Self>, complaint: Option<String>) -> Result<(), Self> {
        if yes { shown } else { Err(Self::No(complaint)) }
    }

    /// Tells the person at stderr, and the caller by the exit code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Failed { message, hint, request_id } => {
                note(format_args!("awrit: {}", printable(&message)));
                if let Some(hint) = hint {
                    note(format_args!("  hint: {}", printable(&hint)));
                }
                if let Some(request_id) = request_id {
                    note(format_args!("  request id: {} (the broker's log has more)", printable(&request_id)));
                }
                ExitCode::FAILURE
            }
            Self::Usage(message) => {
                note(format_args!("awrit: {}", printable(&message)));
                ExitCode::from(2)
            }
            Self::No(message) => {
                if let Some(message) = message {
                    note(format_args!("awrit: {}", printable(&message)));
                }
                ExitCode::from(3)
            }
            Self::Unread => ExitCode::from(stdio::READER_CLOSED),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let mut hint = error.hint().map(str::to_owned);
        if let Some(pause) = error.retry_after() {
            hint = Some(format!("try again in {} s", pause.as_secs()));
        }
        if matches!(error, ClientError::Unreachable { .. }) {
            hint = Some("is the broker running, and is --broker or AACTL_BROKER_URL its address?".to_owned());
        }
        Self::Failed { message: error.to_string(), hint, request_id: error.request_id().map(str::to_owned) }
    }
}

impl From<io::Error> for CliError {
    /// Of writing to stdout.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::failed(format!("stdout: {error}")) }
    }
}
