//! Acceptance of a report, signed by its broker.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Report;
#[cfg(feature = "issue")]
use crate::issue::SigningKey;
use crate::{
    clock::UnixTime,
    error::VerifyError,
    feed_cursor::FeedCursor,
    jws::{CompactJws, MAX_DEPTH, shorten},
    keys::KeySet,
};

/// Acceptance of a report by the broker, which counts the instance from then on.
///
/// An instance accepts tokens by it, so it is signed by the broker's active key and names the report by its SHA-256: what
/// stands between them can't accept a report in the broker's place, nor repeat an earlier acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct ReportAcceptance {
    /// `iss`.
    pub issuer: String,
    /// `iat`, by the broker's clock.
    pub issued_at: UnixTime,
    /// `report`: SHA-256 of the accepted report.
    pub report: [u8; 32],
    /// `epoch` and `cursor`: the end of the revocation log, read after the report was stored.
    pub at_least: FeedCursor,
    /// `interval`: duration after which the instance should report again if it has no news, in whole seconds.
    pub interval: Duration,
}

/// Reason for rejecting an acceptance: the report does not count as accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptanceError {
    /// The response has none: it is of an older broker, or of another server in the broker's place.
    #[error("it has no acceptance signed by the broker; if the broker is older than this service, update the broker")]
    Missing,
    /// Not a well-formed compact JWS, or too long.
    #[error("not signed: {0}")]
    NotSigned(VerifyError),
    /// `typ` is of another kind of document.
    #[error("type `{found}` is not that of an acceptance")]
    UnexpectedType {
        /// `typ`, its first 64 characters; empty when there is none.
        found: String,
    },
    /// `kid` names no trusted key: perhaps a new one.
    #[error("no trusted key is called `{}`", kid.as_deref().unwrap_or("(none)"))]
    UnknownKey {
        /// `kid`, its first 64 characters.
        kid: Option<String>,
    },
    /// The signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// The payload is not that of an acceptance.
    #[error("malformed: {message}")]
    Malformed {
        /// Defect of the payload.
        message: String,
    },
    /// `iss` is another authority.
    #[error("issuer `{found}` is not the expected one")]
    WrongIssuer {
        /// `iss`, its first 64 characters.
        found: String,
    },
    /// It accepts another report.
    #[error("it is the acceptance of another report")]
    OtherReport,
}

#[derive(Deserialize)]
struct RawAcceptance {
    iss: String,
    iat: u64,
    report: String,
    epoch: String,
    cursor: u64,
    interval: u64,
}

impl ReportAcceptance {
    /// `typ` of an acceptance.
    pub const MEDIA_TYPE: &str = "agentwrit-report-acceptance+jwt";
    /// Response header with the acceptance. Brokers write it.
    pub const HEADER: &str = "agentwrit-report-acceptance";
    /// Length of the longest acceptance, in bytes.
    pub const MAX_LENGTH: usize = 4 * 1024;

    /// Returns the digest by which an acceptance names a report.
    #[must_use]
    pub fn digest(report: &str) -> [u8; 32] {
        Sha256::digest(report.as_bytes()).into()
    }

    /// Signs the acceptance with the broker's active key.
    #[cfg(feature = "issue")]
    #[cfg_attr(docsrs, doc(cfg(feature = "issue")))]
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let payload = serde_json::json!({
            "iss": self.issuer,
            "iat": self.issued_at.seconds(),
            "report": BASE64URL_NOPAD.encode(&self.report),
            "epoch": self.at_least.epoch(),
            "cursor": self.at_least.position(),
            "interval": self.interval.as_secs(),
        });
        key.sign_document(Self::MEDIA_TYPE, payload.to_string().as_bytes())
    }

    /// Verifies that the broker of `issuer`, whose keys are given, accepted `report`.
    ///
    /// # Errors
    ///
    /// [`AcceptanceError`] with the first check that failed.
    pub fn verify(text: &str, report: &str, issuer: &str, keys: &KeySet) -> Result<Self, AcceptanceError> {
        if text.is_empty() {
            return Err(AcceptanceError::Missing);
        }
        let jws = CompactJws::decode(text, Self::MAX_LENGTH).map_err(AcceptanceError::NotSigned)?;
        let found = jws.header.media_type.as_deref().unwrap_or_default();
        if found != Self::MEDIA_TYPE {
            return Err(AcceptanceError::UnexpectedType { found: found.to_owned() });
        }
        let kid = jws.header.key_id.as_ref();
        let key = kid.and_then(|kid| keys.find(kid));
        let key = key.ok_or_else(|| AcceptanceError::UnknownKey { kid: kid.map(|kid| shorten(kid.as_str())) })?;
        jws.check_signature(key).map_err(|_| AcceptanceError::BadSignature)?;
        let payload = jws.payload().map_err(AcceptanceError::NotSigned)?;
        let malformed = |message: String| AcceptanceError::Malformed { message };
        let written: RawAcceptance =
            agentwrit_json::object_from_slice(&payload, MAX_DEPTH).map_err(|error| malformed(error.to_string()))?;
        let report_digest = BASE64URL_NOPAD.decode(written.report.as_bytes()).ok();
        let acceptance = Self {
            issuer: written.iss,
            issued_at: UnixTime::from_seconds(written.iat),
            report: report_digest
                .and_then(|digest| digest.try_into().ok())
                .ok_or_else(|| malformed(String::from("`report` is SHA-256 in unpadded base64url")))?,
            at_least: FeedCursor::new(&written.epoch, written.cursor).map_err(|error| malformed(error.to_string()))?,
            interval: Duration::from_secs(written.interval).min(Report::LONGEST_INTERVAL),
        };
        if acceptance.issuer != issuer {
            return Err(AcceptanceError::WrongIssuer { found: shorten(&acceptance.issuer) });
        }
        if acceptance.report != Self::digest(report) {
            return Err(AcceptanceError::OtherReport);
        }
        Ok(acceptance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.test";
    const REPORT: &str = "a.b.c";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn acceptance() -> ReportAcceptance {
        ReportAcceptance {
            issuer: ISSUER.to_owned(),
            issued_at: UnixTime::from_seconds(1_800_000_000),
            report: ReportAcceptance::digest(REPORT),
            at_least: FeedCursor::parse("9f2c.1842").unwrap(),
            interval: Duration::from_secs(8),
        }
    }

    fn verify(text: &str) -> Result<ReportAcceptance, AcceptanceError> {
        let keys = KeySet::new([key(1).public_key().clone()]).unwrap();
        ReportAcceptance::verify(text, REPORT, ISSUER, &keys)
    }

    #[test]
    fn accepts_what_the_broker_signed_for_this_report() {
        assert_eq!(verify(&acceptance().sign(&key(1))), Ok(acceptance()));
        let longer = ReportAcceptance { interval: Duration::from_secs(3600), ..acceptance() };
        assert_eq!(verify(&longer.sign(&key(1))).map(|found| found.interval), Ok(Report::LONGEST_INTERVAL));
    }

    #[test]
    fn rejects_other_keys_reports_issuers_types_and_members() {
        let signed = acceptance().sign(&key(1));
        let forged = format!("{}{}", signed.get(..signed.len() - 40).unwrap(), "A".repeat(40));
        assert_eq!(verify(&forged), Err(AcceptanceError::BadSignature));
        assert!(matches!(verify(&acceptance().sign(&key(2))), Err(AcceptanceError::UnknownKey { .. })));
        let other = ReportAcceptance { report: ReportAcceptance::digest("a.b.d"), ..acceptance() };
        assert_eq!(verify(&other.sign(&key(1))), Err(AcceptanceError::OtherReport));
        let other = ReportAcceptance { issuer: "https://other.test".to_owned(), ..acceptance() };
        assert!(matches!(verify(&other.sign(&key(1))), Err(AcceptanceError::WrongIssuer { .. })));
        for (media_type, payload) in [("JWT", "{}"), (Report::MEDIA_TYPE, "{}")] {
            let found = media_type.to_owned();
            let document = key(1).sign_document(media_type, payload.as_bytes());
            assert_eq!(verify(&document), Err(AcceptanceError::UnexpectedType { found }));
        }
        let whole = r#"{"iss":"https://issuer.test","iat":1,"report":"eA","epoch":"e","cursor":1,"interval":8}"#;
        for payload in ["", "{}", "[]", whole] {
            let document = key(1).sign_document(ReportAcceptance::MEDIA_TYPE, payload.as_bytes());
            assert!(matches!(verify(&document), Err(AcceptanceError::Malformed { .. })), "{payload}");
        }
        assert_eq!(verify(""), Err(AcceptanceError::Missing));
        for text in ["204", "a.b.c", &"a".repeat(ReportAcceptance::MAX_LENGTH + 1)] {
            assert!(matches!(verify(text), Err(AcceptanceError::NotSigned(_))), "{text}");
        }
    }
}
