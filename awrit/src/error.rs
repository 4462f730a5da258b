//! Exit codes, and the messages and hints on stderr that go with them.

use std::{
    fmt::{self, Display},
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use agentwrit_client::{ClientError, ReceivedSecret, TransportErrorKind};
use agentwrit_protocol::ErrorCode;
use agentwrit_verify::audit::text::printable;

/// Exit code after the reader of stdout has closed it, as a shell reports SIGPIPE.
const STDOUT_CLOSED: u8 = 141;

/// Reason why a command ends with another exit code than 0.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command failed: exit code 1.
    Failed { message: String, hint: Option<String>, request_id: Option<String> },
    /// The command may have succeeded, but only a one-time secret could be read of the response: exit code 1.
    OneTimeSecretOnly { message: String, received: Box<ReceivedSecret> },
    /// Wrong usage: exit code 2.
    Usage(String),
    /// The command succeeded and its result, already on stdout, is negative: exit code 3. Text for stderr, if any.
    Negative(Option<String>),
    /// The change was made, but is not confirmed: exit code 3 because of a verifier without a bound, 4 after the time limit,
    /// 130 after an interruption.
    Unconfirmed { code: u8, message: String, hint: Option<String> },
    /// The reader of stdout has closed it: exit code 141.
    StdoutClosed,
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
            other @ (Self::OneTimeSecretOnly { .. }
            | Self::Usage(_)
            | Self::Negative(_)
            | Self::Unconfirmed { .. }
            | Self::StdoutClosed) => other,
        }
    }

    /// Returns the outcome of printing a positive result. A negative one is exit code 3 also if it could not be `printed`.
    pub(crate) fn negative_unless(
        positive: bool,
        printed: Result<(), Self>,
        message: Option<String>,
    ) -> Result<(), Self> {
        if positive { printed } else { Err(Self::Negative(message)) }
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Failed { message, hint, request_id } => {
                write_message(&message, hint.as_deref());
                if let Some(request_id) = request_id {
                    write_stderr(format_args!("  request id: {} (the broker's log has more)", printable(&request_id)));
                }
                ExitCode::FAILURE
            }
            Self::OneTimeSecretOnly { message, received } => {
                report_one_time_secret(&message, *received);
                ExitCode::FAILURE
            }
            Self::Usage(message) => {
                write_stderr(format_args!("awrit: {}", printable(&message)));
                ExitCode::from(2)
            }
            Self::Negative(message) => {
                if let Some(message) = message {
                    write_stderr(format_args!("awrit: {}", printable(&message)));
                }
                ExitCode::from(3)
            }
            Self::Unconfirmed { code, message, hint } => {
                write_message(&message, hint.as_deref());
                ExitCode::from(code)
            }
            Self::StdoutClosed => ExitCode::from(STDOUT_CLOSED),
        }
    }
}

/// Writes a line to stderr. A line that cannot be written is lost: there is no further place to report to.
pub(crate) fn write_stderr(line: fmt::Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    stderr.write_fmt(line).and_then(|()| stderr.write_all(b"\n")).unwrap_or_default();
}

fn write_message(message: &str, hint: Option<&str>) {
    write_stderr(format_args!("awrit: {}", printable(message)));
    if let Some(hint) = hint {
        write_stderr(format_args!("  hint: {}", printable(hint)));
    }
}

/// Prints the secret to stdout, where a script expects it, in the form of a response: it cannot be had again.
fn report_one_time_secret(message: &str, received: ReceivedSecret) {
    let ReceivedSecret { member, secret, .. } = received;
    write_stderr(format_args!("awrit: {}", printable(message)));
    write_stderr(format_args!("  hint: it may be done; keep the {member} on stdout: it is shown this once"));
    let json = serde_json::json!({ member: secret.expose() }).to_string();
    if let Err(error) = writeln!(io::stdout().lock(), "{json}") {
        write_stderr(format_args!("  stdout: {error}; here it is: {json}"));
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        if let Some(received) = error.received_secret() {
            return Self::OneTimeSecretOnly { message: error.to_string(), received: Box::new(received.clone()) };
        }
        let hint = match error.retry_after() {
            // Sent again, a request whose outcome is unknown may be executed twice.
            Some(pause) if error.error_code() != Some(ErrorCode::OutcomeUnknown.as_str()) => {
                Some(format!("try again in {} s", pause.as_secs()))
            }
            Some(_) | None => error.hint().map(str::to_owned).or_else(|| remedy(&error).map(str::to_owned)),
        };
        Self::Failed { message: error.to_string(), hint, request_id: error.request_id().map(str::to_owned) }
    }
}

/// Returns true for an error that a retry may overcome.
pub(crate) fn is_transient(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { .. } | ClientError::Timeout { .. })
        || matches!(error.status(), Some(429 | 502 | 503 | 504))
}

/// Returns the remedy for an error that came without a hint of the broker.
#[expect(clippy::wildcard_enum_match_arm, reason = "other errors, also those added later, have no remedy of their own")]
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
        // A broker of this project responds with a problem.
        ClientError::Rejected { status: 404 | 405, .. } if error.error_code().is_none() => {
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
    /// Converts an error of writing to stdout.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::StdoutClosed
        } else {
            Self::failed(format!("stdout: {error}"))
        }
    }
}
