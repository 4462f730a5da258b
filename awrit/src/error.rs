//! How a command fails, and what a person is told then.

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use agentwrit_client::{ClientError, ReceivedSecret, TransportErrorKind};
use agentwrit_verify::audit::text::printable;

use crate::output::write_stderr;

/// Exit code after the reader of stdout has closed it, as a shell reports SIGPIPE.
const READER_CLOSED: u8 = 141;

/// Why a command did not come to a good end.
#[derive(Debug)]
pub(crate) enum CliError {
    /// It could not be done: exit code 1.
    Failed { message: String, hint: Option<String>, request_id: Option<String> },
    /// It may have been done, and of the answer only a secret that is shown once could be read: exit code 1.
    Salvaged { message: String, received: Box<ReceivedSecret> },
    /// It makes no sense to ask this: exit code 2.
    Usage(String),
    /// It was done, and the answer, which is on stdout already, is no: exit code 3. Text for stderr, if there is more.
    No(Option<String>),
    /// The reader of stdout has closed it: exit code 141.
    Unread,
}

impl CliError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None, request_id: None }
    }

    pub(crate) fn file(path: &Path, reason: &dyn Display) -> Self {
        Self::failed(format!("`{}`: {reason}", path.display()))
    }

    /// Adds what to do next.
    pub(crate) fn hint(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, request_id, .. } => Self::Failed { message, hint: Some(advice.into()), request_id },
            other @ (Self::Salvaged { .. } | Self::Usage(_) | Self::No(_) | Self::Unread) => other,
        }
    }

    /// What a verdict comes to: a no is a no, whether anybody reads it (`shown`) or not.
    pub(crate) fn judged(yes: bool, shown: Result<(), Self>, complaint: Option<String>) -> Result<(), Self> {
        if yes { shown } else { Err(Self::No(complaint)) }
    }

    /// Tells the person at stderr, and the caller by the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Failed { message, hint, request_id } => {
                write_stderr(format_args!("awrit: {}", printable(&message)));
                if let Some(hint) = hint {
                    write_stderr(format_args!("  hint: {}", printable(&hint)));
                }
                if let Some(request_id) = request_id {
                    write_stderr(format_args!("  request id: {} (the broker's log has more)", printable(&request_id)));
                }
                ExitCode::FAILURE
            }
            Self::Salvaged { message, received } => {
                let ReceivedSecret { member, secret, .. } = *received;
                write_stderr(format_args!("awrit: {}", printable(&message)));
                write_stderr(format_args!(
                    "  hint: it may be done; keep the {member} on stdout: it is shown this once"
                ));
                // The one thing that cannot be had again goes where a script expects it, in the form of an answer.
                let salvaged = serde_json::json!({ member: secret.expose() }).to_string();
                if let Err(error) = writeln!(io::stdout().lock(), "{salvaged}") {
                    write_stderr(format_args!("  stdout: {error}; here it is: {salvaged}"));
                }
                ExitCode::FAILURE
            }
            Self::Usage(message) => {
                write_stderr(format_args!("awrit: {}", printable(&message)));
                ExitCode::from(2)
            }
            Self::No(message) => {
                if let Some(message) = message {
                    write_stderr(format_args!("awrit: {}", printable(&message)));
                }
                ExitCode::from(3)
            }
            Self::Unread => ExitCode::from(READER_CLOSED),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        if let Some(received) = error.received_secret() {
            return Self::Salvaged { message: error.to_string(), received: Box::new(received.clone()) };
        }
        let hint = match error.retry_after() {
            Some(pause) => Some(format!("try again in {} s", pause.as_secs())),
            None => error.hint().map(str::to_owned).or_else(|| remedy(&error).map(str::to_owned)),
        };
        Self::Failed { message: error.to_string(), hint, request_id: error.request_id().map(str::to_owned) }
    }
}

/// What to do about an error that did not come with the broker's own advice.
#[expect(clippy::wildcard_enum_match_arm, reason = "what has no remedy of its own, now or later, gets none")]
fn remedy(error: &ClientError) -> Option<&'static str> {
    match error {
        ClientError::Unreachable { kind, .. } => Some(connection_remedy(*kind)),
        ClientError::Timeout { .. } => Some("--timeout SECONDS waits longer"),
        ClientError::InvalidInput { field: "broker URL", .. } => {
            Some("set the address with --broker or AACTL_BROKER_URL; --cacert, --cert and --key are for `https://…`")
        }
        ClientError::InvalidInput { field: "TLS configuration", .. } => {
            Some("--key is the private key of the first certificate in --cert, and all files are PEM")
        }
        // A broker of this project answers with a problem.
        ClientError::Refused { status: 404 | 405, .. } if error.error_code().is_none() => {
            Some("there is no such endpoint at --broker or AACTL_BROKER_URL: an older AgentWrit, or another service?")
        }
        _ => None,
    }
}

fn connection_remedy(kind: TransportErrorKind) -> &'static str {
    match kind {
        TransportErrorKind::BrokerIsPlain => {
            "write `http://…` in --broker or AACTL_BROKER_URL, or give the broker AA_TLS_MODE"
        }
        TransportErrorKind::BrokerIsTls => "write `https://…` in --broker or AACTL_BROKER_URL",
        TransportErrorKind::UnknownAuthority => {
            "name the authority that the broker's certificate is from with --cacert FILE"
        }
        TransportErrorKind::BrokerCertificate => {
            "is the host in --broker or AACTL_BROKER_URL one that the certificate names, and has it not expired?"
        }
        TransportErrorKind::ClientCertificate => {
            "name a client certificate from an authority in the broker's AA_TLS_CLIENT_CA with --cert FILE --key FILE"
        }
        TransportErrorKind::Broken => {
            "a broker with TLS ends connections like this that are `http://…` or, with AA_TLS_MODE=mtls, lack --cert and --key"
        }
        TransportErrorKind::NoConnection
        | TransportErrorKind::ConnectTimeout
        | TransportErrorKind::Timeout
        | TransportErrorKind::Tls
        | _ => "is the broker running, and is --broker or AACTL_BROKER_URL its address?",
    }
}

impl From<io::Error> for CliError {
    /// Of writing to stdout.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::failed(format!("stdout: {error}")) }
    }
}
