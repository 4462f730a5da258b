//! Reasons why a request got no response.

use std::{error::Error, fmt, io};

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// Reason why a request got no response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportError {
    /// Kind of the error.
    pub kind: TransportErrorKind,
    /// One clause for the user, in lower case.
    pub reason: String,
    /// True when the request may have reached the broker.
    pub sent: bool,
}

/// Kind of a transport error, which determines the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection: connection refused, unknown host, no route, no proxy.
    NoConnection,
    /// No connection in time.
    ConnectTimeout,
    /// No complete response in time.
    Timeout,
    /// The URL is `https` and the broker does not use TLS.
    BrokerIsPlain,
    /// The URL is `http` and the response is not HTTP: a broker with TLS.
    BrokerIsTls,
    /// The broker's certificate is from an authority that is not trusted.
    UnknownAuthority,
    /// The broker's certificate is not for this name, has expired, or is wrong in another way.
    BrokerCertificate,
    /// The broker requires a client certificate, or rejects the one presented.
    ClientCertificate,
    /// The TLS handshake failed for another reason.
    Tls,
    /// The connection ended before the response was complete.
    Broken,
}

impl TransportError {
    /// Classifies an error of sending a request or of reading its response.
    #[must_use]
    pub fn of(error: &reqwest::Error, https: bool) -> Self {
        let kind = kind(error, https);
        let cause = innermost(error).to_string();
        Self { kind, reason: reason(kind, &cause), sent: !error.is_connect() }
    }
}

fn kind(error: &reqwest::Error, https: bool) -> TransportErrorKind {
    if error.is_timeout() {
        return if error.is_connect() { TransportErrorKind::ConnectTimeout } else { TransportErrorKind::Timeout };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return tls_kind(tls);
    }
    let is_no_http = find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse);
    match (error.is_connect(), is_no_http && !https) {
        (_, true) => TransportErrorKind::BrokerIsTls,
        (true, false) => TransportErrorKind::NoConnection,
        (false, false) => TransportErrorKind::Broken,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the TLS library adds reasons; those not named here need no remedy of their own"
)]
fn tls_kind(error: &rustls::Error) -> TransportErrorKind {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TransportErrorKind::BrokerIsPlain,
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => TransportErrorKind::UnknownAuthority,
        rustls::Error::InvalidCertificate(_) => TransportErrorKind::BrokerCertificate,
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
        ) => TransportErrorKind::ClientCertificate,
        _ => TransportErrorKind::Tls,
    }
}

fn reason(kind: TransportErrorKind, cause: &str) -> String {
    let words = match kind {
        TransportErrorKind::BrokerIsPlain => "the address is `https`, and the broker does not speak TLS",
        TransportErrorKind::BrokerIsTls => {
            "the address is `http`, and the response is not HTTP: a broker with TLS responds so"
        }
        TransportErrorKind::UnknownAuthority => "the broker's certificate is from an authority that is not trusted",
        TransportErrorKind::BrokerCertificate => "the broker's certificate is not accepted",
        TransportErrorKind::ClientCertificate => "the broker demands another client certificate, or any",
        TransportErrorKind::Tls => "the TLS handshake failed",
        TransportErrorKind::ConnectTimeout | TransportErrorKind::Timeout => return "timed out".to_owned(),
        TransportErrorKind::NoConnection | TransportErrorKind::Broken => return cause.to_owned(),
    };
    format!("{words} ({cause})")
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Returns the next cause. An I/O error that wraps another one does not return it as its source, so it is unwrapped
/// here.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    std::iter::successors(Some(error), |error| cause(*error)).find_map(|error| error.downcast_ref())
}

/// Returns the last cause: `reqwest` reports only a generic message at the top level.
pub(super) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |error| cause(*error)).last().unwrap_or(error)
}
