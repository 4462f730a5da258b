//! Log lines and counts of failed TLS handshakes.
//!
//! 1. The first failure of a kind from an address is logged at once, as a warning with the reason. Further ones within
//!    [`WINDOW`] are one line at its end, with their count.
//! 2. At most [`MAX_SOURCES`] pairs of kind and address are counted separately at a time, further failures by kind
//!    alone: unauthenticated clients can cause a bounded number of lines.
//! 3. A client that disconnects without an alert (a port probe) is not a failed handshake: it is logged at level debug.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::{audit::text::printable, telemetry::metrics::Metrics};

/// Time for which failures of one kind from one address are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Number of pairs of kind and address that are counted separately.
const MAX_SOURCES: usize = 32;
/// Longest text of a reason, in characters.
const MAX_REASON: usize = 200;

/// Kind and reason of a failed handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HandshakeFailure {
    /// The value of the metric's label.
    kind: &'static str,
    /// Explanation for the operator.
    reason: String,
}

/// Failures that were logged recently.
#[derive(Debug, Default)]
struct FoldedFailures(HashMap<(&'static str, Option<IpAddr>), Window>);

#[derive(Debug)]
struct Window {
    ends: Instant,
    /// Failures since the line that opened the window.
    more: u64,
    latest: HandshakeFailure,
}

/// Line of the log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    failure: HandshakeFailure,
    /// `None` for several addresses.
    address: Option<IpAddr>,
    count: u64,
}

/// Logs and counts failed handshakes. Clones share what they fold.
#[derive(Clone, Debug)]
pub(crate) struct FailedHandshakes {
    folded: Arc<Mutex<FoldedFailures>>,
    metrics: Arc<Metrics>,
}

impl FailedHandshakes {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { folded: Arc::default(), metrics }
    }

    /// Records a handshake that failed.
    pub(crate) fn failed(&self, peer: SocketAddr, error: &io::Error) {
        if let Some(failure) = HandshakeFailure::of(error) {
            self.record(peer, failure);
        } else {
            tracing::debug!(component = "tls", %peer, %error, "a client disconnected during the TLS handshake");
        }
    }

    /// Records a handshake that timed out.
    pub(crate) fn timed_out(&self, peer: SocketAddr) {
        self.record(peer, HandshakeFailure { kind: "timeout", reason: "the handshake took too long".to_owned() });
    }

    fn record(&self, peer: SocketAddr, failure: HandshakeFailure) {
        self.metrics.tls_handshake_failed(failure.kind);
        let line = self.with(|folded| folded.add(peer.ip(), failure, Instant::now()));
        if let Some(line) = line {
            line.write();
        }
    }

    /// Logs what was counted in windows that have ended.
    pub(crate) fn write_due(&self) {
        for line in self.with(|folded| folded.due(Instant::now())) {
            line.write();
        }
    }

    /// Logs what was counted in all windows: for the end of the process.
    pub(crate) fn write_all(&self) {
        for line in self.with(FoldedFailures::take_all) {
            line.write();
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut FoldedFailures) -> T) -> T {
        act(&mut self.folded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FoldedFailures {
    /// Counts a failure. Returns the line to be written now, if any.
    fn add(&mut self, address: IpAddr, failure: HandshakeFailure, now: Instant) -> Option<Line> {
        let own = (failure.kind, Some(address));
        let key = if self.0.contains_key(&own) || self.0.len() < MAX_SOURCES { own } else { (failure.kind, None) };
        if let Some(window) = self.0.get_mut(&key) {
            window.more = window.more.saturating_add(1);
            window.latest = failure;
            return None;
        }
        self.0.insert(key, Window { ends: now + WINDOW, more: 0, latest: failure.clone() });
        Some(Line { failure, address: key.1, count: 1 })
    }

    /// Returns the lines of windows that have ended. A window with failures is followed by another one.
    fn due(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        self.0.retain(|(_, address), window| {
            if window.ends > now {
                return true;
            }
            let count = std::mem::take(&mut window.more);
            window.ends = now + WINDOW;
            if count > 0 {
                lines.push(Line { failure: window.latest.clone(), address: *address, count });
            }
            count > 0
        });
        lines
    }
}

impl FoldedFailures {
    /// Ends all windows and returns their lines.
    fn take_all(&mut self) -> Vec<Line> {
        let windows = std::mem::take(&mut self.0).into_iter().filter(|(_, window)| window.more > 0);
        windows
            .map(|((_, address), Window { latest, more, .. })| Line { failure: latest, address, count: more })
            .collect()
    }
}

impl Line {
    fn write(&self) {
        let Self { failure: HandshakeFailure { reason, .. }, address, count } = self;
        let address = address.map_or_else(|| "several".to_owned(), |address| address.to_string());
        // The module of the log line, wherever this file is.
        tracing::warn!(target: "agentwrit_broker::tls", component = "tls", reason = reason.as_str(), address, count, "TLS handshake failed");
    }
}

impl HandshakeFailure {
    /// Returns `None` for a client that disconnected.
    fn of(error: &io::Error) -> Option<Self> {
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        let Some(tls) = tls else {
            let disconnected =
                [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
            return (!disconnected.contains(&error.kind())).then(|| Self::described("other", None, error));
        };
        let (kind, reason) = kind_and_explanation(tls);
        Some(Self::described(kind, reason, tls))
    }

    fn described(kind: &'static str, reason: Option<&str>, error: &dyn std::fmt::Display) -> Self {
        let error = error.to_string();
        let error: String = printable(&error).chars().take(MAX_REASON).collect();
        let reason = reason.map_or_else(|| error.clone(), |reason| format!("{reason} ({error})"));
        Self { kind, reason }
    }
}

/// Returns the kind of a failure, and an explanation if the text of the library is not enough.
#[expect(clippy::wildcard_enum_match_arm, reason = "the TLS library adds reasons; its own text is enough for them")]
fn kind_and_explanation(error: &Error) -> (&'static str, Option<&'static str>) {
    match error {
        Error::NoCertificatesPresented => {
            ("no_certificate", Some("the client shows no certificate, and AA_TLS_MODE is mtls"))
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            ("unknown_authority", Some("the client's certificate is from an authority that is not in AA_TLS_CLIENT_CA"))
        }
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => (
            "wrong_purpose",
            Some("the client's certificate is not for clients: its extended key usage lacks clientAuth"),
        ),
        Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "UnsupportedCertVersion" => {
            ("wrong_version", Some("the client's certificate is not X.509 version 3"))
        }
        Error::InvalidCertificate(_) => ("bad_certificate", Some("the client's certificate is not accepted")),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => ("not_tls", Some("the client does not speak TLS")),
        Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown,
        ) => ("refused_by_client", Some("the client does not trust the certificate in AA_TLS_CERT")),
        Error::AlertReceived(_) => ("refused_by_client", None),
        Error::PeerIncompatible(_) => ("incompatible", Some("no version or algorithm of TLS in common")),
        _ => ("other", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &'static str) -> HandshakeFailure {
        HandshakeFailure { kind, reason: kind.to_owned() }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn writes_first_failure_at_once_and_later_ones_as_count() {
        let (mut folded, now) = (FoldedFailures::default(), Instant::now());
        let line = |count| Line { failure: failure("not_tls"), address: Some(address(1)), count };
        assert_eq!(folded.add(address(1), failure("not_tls"), now), Some(line(1)));
        for _ in 0..1000 {
            assert_eq!(folded.add(address(1), failure("not_tls"), now), None);
        }
        assert!(folded.add(address(2), failure("not_tls"), now).is_some(), "another address");
        assert!(folded.add(address(1), failure("timeout"), now).is_some(), "another kind");
        assert_eq!(folded.due(now + WINDOW / 2), []);
        assert_eq!(folded.due(now + WINDOW), [line(1000)]);
        assert_eq!(folded.add(address(1), failure("not_tls"), now + WINDOW), None, "the window continues");
        assert_eq!(folded.due(now + 2 * WINDOW), [line(1)]);
        assert_eq!(folded.due(now + 3 * WINDOW), []);
        assert_eq!(folded.add(address(1), failure("not_tls"), now + 3 * WINDOW), Some(line(1)), "a new window");
    }

    #[test]
    fn counts_of_open_windows_are_written_at_end_of_process() {
        let (mut folded, now) = (FoldedFailures::default(), Instant::now());
        for _ in 0..3 {
            folded.add(address(1), failure("not_tls"), now);
        }
        folded.add(address(2), failure("not_tls"), now);
        assert_eq!(folded.take_all(), [Line { failure: failure("not_tls"), address: Some(address(1)), count: 2 }]);
        assert_eq!(folded.take_all(), [], "each count once");
    }

    #[test]
    fn bounds_lines_from_many_addresses() {
        let (mut folded, now) = (FoldedFailures::default(), Instant::now());
        let addresses = (0..10_000_u32).map(|number| IpAddr::from(std::net::Ipv4Addr::from(number)));
        let written = addresses.filter_map(|address| folded.add(address, failure("not_tls"), now)).count();
        assert_eq!(written, MAX_SOURCES + 1);
        assert_eq!(folded.0.len(), MAX_SOURCES + 1);
        let lines = folded.due(now + WINDOW);
        assert_eq!(lines, [Line { failure: failure("not_tls"), address: None, count: 9_967 }]);
    }

    #[test]
    fn ignores_client_that_disconnects_without_alert() {
        assert_eq!(HandshakeFailure::of(&io::Error::from(io::ErrorKind::UnexpectedEof)), None);
        let plain = io::Error::other(Error::InvalidMessage(InvalidMessage::InvalidContentType));
        assert_eq!(HandshakeFailure::of(&plain).map(|failure| failure.kind), Some("not_tls"));
    }
}
