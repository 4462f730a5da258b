//! Reports of verifiers to their broker: which revocations an instance applies.
//!
//! 1. A report is a compact JWS of `typ` `agentwrit-report+jwt`, signed with the key that the operator enrolled under
//!    the verifier's name. Each process is an instance of its own, with a random id.
//! 2. `cursor` is applied: a check that begins after the report was made rejects what was revoked up to it.
//! 3. An instance accepts its first token only after the broker has accepted a report of it, and none once that has not
//!    happened for [`Report::LEASE`]. So a broker knows every instance that may accept tokens: see
//!    [`confirmation`](crate::confirmation).
//! 4. The broker responds with 204 and, in the header [`AgentWrit-Report-Acceptance`](ReportAcceptance::HEADER), its signed
//!    [acceptance](ReportAcceptance). Nothing else counts as one: a server in the broker's place would make an instance accept
//!    tokens that the broker does not know.
//!    The acceptance has the broker's cursor, read after it has stored the report where every broker counts it. What was
//!    revoked before may have been confirmed without this instance: one that has no lease accepts tokens only once its list
//!    has reached that cursor. It also tells when to report again without news.
//! 5. A broker decodes a report to learn whose key verifies it, then verifies it: [`UnverifiedReport`].
//!
//! ```
//! use agentwrit_verify::{
//!     UnixTime, feed::FeedCursor, issue::SigningKey,
//!     report::{InstanceId, Report, ReportedBound, UnverifiedReport, VerifierName},
//! };
//!
//! let key = SigningKey::from_seed(&[7; 32])?;
//! let now = UnixTime::parse_rfc3339("2026-11-21T08:00:00Z")?;
//! let report = Report {
//!     verifier: VerifierName::parse("payments-api")?,
//!     audience: "https://agentwrit.local".into(),
//!     issued_at: now,
//!     instance: InstanceId::from_bytes([1; 16]),
//!     sequence: 1,
//!     applied: FeedCursor::parse("9f2c.1842")?,
//!     true_at: Some(now),
//!     bound: ReportedBound::Seconds(30),
//!     key_set: None,
//!     drained: None,
//!     leaving: false,
//! };
//! let text = report.sign(&key);
//! let unverified = UnverifiedReport::decode(&text)?;
//! assert_eq!(unverified.verifier().as_str(), "payments-api");
//! assert_eq!(unverified.verify(key.public_key(), "https://agentwrit.local", now)?, report);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acceptance;
mod error;
mod names;
mod parse;
#[cfg(any(feature = "remote", feature = "testing"))]
mod series;

use std::time::Duration;

#[cfg(any(feature = "remote", feature = "testing"))]
pub(crate) use self::series::ReportSeries;
#[cfg(feature = "remote")]
pub(crate) use self::series::ReportedState;
pub use self::{
    acceptance::{AcceptanceError, ReportAcceptance},
    error::ReportError,
    names::{InstanceId, KeySetDigest, ReportNameError, VerifierName},
    parse::UnverifiedReport,
};
#[cfg(feature = "issue")]
use crate::issue::SigningKey;
use crate::{clock::UnixTime, feed_cursor::FeedCursor};

/// Report of one instance of a verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct Report {
    /// `iss`, without its prefix `verifier:`.
    pub verifier: VerifierName,
    /// `aud`: issuer of the broker.
    pub audience: String,
    /// `iat`, by the verifier's clock.
    pub issued_at: UnixTime,
    /// Process that reports.
    pub instance: InstanceId,
    /// Number of the report: higher than that of every earlier report of the instance.
    pub sequence: u64,
    /// `epoch` and `cursor`: a check that begins later rejects what was revoked up to here.
    pub applied: FeedCursor,
    /// `iat` of the response of the feed with which the list was at this cursor last. A broker that committed something before
    /// which the list lacks knows that it is of another database.
    pub true_at: Option<UnixTime>,
    /// Age beyond which the instance does not use its list.
    pub bound: ReportedBound,
    /// Digest of the keys in force.
    pub key_set: Option<KeySetDigest>,
    /// Cursor of the same epoch: requests admitted before it was applied have ended, their responses included.
    pub drained: Option<u64>,
    /// True in the last report: the instance accepts no token any more.
    pub leaving: bool,
}

/// Age beyond which a verifier does not use its list, as it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "code that confirms a revocation must handle each")]
pub enum ReportedBound {
    /// At most so many seconds, rounded up.
    Seconds(u64),
    /// No bound: the verifier accepts tokens with a list of any age.
    Unbounded,
}

impl ReportedBound {
    /// Returns the bound; `None` when there is none.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Seconds(seconds) => Some(Duration::from_secs(seconds)),
            Self::Unbounded => None,
        }
    }
}

impl Report {
    /// `typ` of a report.
    pub const MEDIA_TYPE: &str = "agentwrit-report+jwt";
    /// Length of the longest report, in bytes.
    pub const MAX_LENGTH: usize = 16 * 1024;
    /// Duration for which an instance with a bound accepts tokens after it sent a report that the broker accepted.
    pub const LEASE: Duration = Duration::from_secs(600);
    /// Largest difference between `iat` and the broker's clock.
    pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);
    /// Response header with the interval, in seconds, after which an instance without news should report again. Brokers write it.
    pub const INTERVAL: &str = "agentwrit-report-interval";
    /// The longest such interval that an instance follows.
    pub const LONGEST_INTERVAL: Duration = Duration::from_secs(120);
    /// Prefix of `iss`.
    const ISSUER_PREFIX: &str = "verifier:";

    /// Signs the report with the verifier's key.
    #[cfg(feature = "issue")]
    #[cfg_attr(docsrs, doc(cfg(feature = "issue")))]
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let mut payload = serde_json::json!({
            "iss": format!("{}{}", Self::ISSUER_PREFIX, self.verifier),
            "aud": self.audience,
            "iat": self.issued_at.seconds(),
            "instance": self.instance.to_string(),
            "seq": self.sequence,
            "epoch": self.applied.epoch(),
            "cursor": self.applied.position(),
            "bound": match self.bound {
                ReportedBound::Seconds(seconds) => seconds.into(),
                ReportedBound::Unbounded => serde_json::Value::from("none"),
            },
        });
        if let Some(members) = payload.as_object_mut() {
            members.extend(self.true_at.map(|true_at| ("true_at".into(), true_at.seconds().into())));
            members.extend(self.key_set.map(|key_set| ("kids".into(), key_set.to_string().into())));
            members.extend(self.drained.map(|drained| ("drained".into(), drained.into())));
            members.extend(self.leaving.then(|| ("leaving".into(), true.into())));
        }
        key.sign_document(Self::MEDIA_TYPE, payload.to_string().as_bytes())
    }
}
