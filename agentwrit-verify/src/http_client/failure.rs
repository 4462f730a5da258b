//! Why a request got no response.

use std::{error::Error, fmt, io};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// Why a request got no response, and whether it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What it is about.
    pub kind: FailureKind,
    /// One clause for a person, in lower case.
    pub reason: String,
    /// Whether the request may have reached the broker.
    pub sent: bool,
}

/// What a failure is about: decides what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// No connection: refused, no such host, no route, no proxy.
    NoConnection,
    /// No connection in time.
    ConnectTimeout,
    /// No complete response in time.
    Timeout,
    /// `https` was asked for, and the broker speaks plain HTTP.
    BrokerIsPlain,
    /// `http` was asked for, and what came back is not HTTP: a broker with TLS.
    BrokerIsTls,
    /// The broker's certificate is from an authority that is not trusted.
    UnknownAuthority,
    /// The broker's certificate is not for this name, has expired, or is wrong in another way.
    BrokerCertificate,
    /// The broker demands a client certificate, or refuses the one that it got.
    ClientCertificate,
    /// The TLS handshake failed for another reason.
    Tls,
    /// The connection ended before the response was complete.
    Broken,
}

impl Failure {
    /// Judges an error of sending a request, or of reading its response.
    #[must_use]
    pub fn of(error: &reqwest::Error, https: bool) -> Self {
        let kind = kind(error, https);
        let cause = innermost(error).to_string();
        Self { kind, reason: reason(kind, &cause), sent: !error.is_connect() }
    }
}

fn kind(error: &reqwest::Error, https: bool) -> FailureKind {
    if error.is_timeout() {
        return if error.is_connect() { FailureKind::ConnectTimeout } else { FailureKind::Timeout };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return tls_kind(tls);
    }
    let is_no_http = find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse);
    match (error.is_connect(), is_no_http && !https) {
        (_, true) => FailureKind::BrokerIsTls,
        (true, false) => FailureKind::NoConnection,
        (false, false) => FailureKind::Broken,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the TLS library adds reasons; those not named here need no remedy of their own"
)]
fn tls_kind(error: &rustls::Error) -> FailureKind {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => FailureKind::BrokerIsPlain,
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => FailureKind::UnknownAuthority,
        rustls::Error::InvalidCertificate(_) => FailureKind::BrokerCertificate,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::NoCertificate,
        ) => FailureKind::ClientCertificate,
        _ => FailureKind::Tls,
    }
}

fn reason(kind: FailureKind, cause: &str) -> String {
    let words = match kind {
        FailureKind::BrokerIsPlain => "the address is `https`, and the broker does not speak TLS",
        FailureKind::BrokerIsTls => {
            "the address is `http`, and the response is not HTTP: a broker with TLS responds so"
        }
        FailureKind::UnknownAuthority => "the broker's certificate is from an authority that is not trusted",
        FailureKind::BrokerCertificate => "the broker's certificate is not accepted",
        FailureKind::ClientCertificate => "the broker demands another client certificate, or any",
        FailureKind::Tls => "the TLS handshake failed",
        FailureKind::ConnectTimeout | FailureKind::Timeout => return "timed out".to_owned(),
        FailureKind::NoConnection | FailureKind::Broken => return cause.to_owned(),
    };
    format!("{words} ({cause})")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The next cause. An I/O error that wraps another one is not its source, so it is looked into.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |error| cause(*error)).find_map(|error| error.downcast_ref())
}

/// `reqwest` hides the reason in the chain of sources; the outermost message alone says nothing.
pub(super) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |error| cause(*error)).last().unwrap_or(error)
}
