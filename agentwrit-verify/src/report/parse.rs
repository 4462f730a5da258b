//! Reports, decoded strictly and verified.

use serde::{Deserialize, Deserializer, de};

use super::{InstanceId, KeySetDigest, Report, ReportError, ReportedBound, VerifierName};
use crate::{
    clock::UnixTime,
    feed_cursor::FeedCursor,
    jws::{CompactJws, MAX_DEPTH, shorten},
    keys::PublicKey,
};

/// A well-formed report that **proves nothing**: its verifier's name selects the key that verifies it.
#[derive(Clone, Debug)]
pub struct UnverifiedReport<'a> {
    jws: CompactJws<'a>,
    report: Report,
}

impl<'a> UnverifiedReport<'a> {
    /// Decodes a compact JWS of at most [`Report::MAX_LENGTH`] bytes.
    ///
    /// # Errors
    ///
    /// [`ReportError::NotSigned`], [`ReportError::UnexpectedType`] or [`ReportError::Malformed`].
    pub fn decode(text: &'a str) -> Result<Self, ReportError> {
        let jws = CompactJws::decode(text, Report::MAX_LENGTH).map_err(ReportError::NotSigned)?;
        let found = jws.header.media_type.as_deref().unwrap_or_default();
        if found != Report::MEDIA_TYPE {
            return Err(ReportError::UnexpectedType { found: found.to_owned() });
        }
        let payload = jws.payload().map_err(ReportError::NotSigned)?;
        let written: RawReport = agentwrit_json::object_from_slice(&payload, MAX_DEPTH)
            .map_err(|error| ReportError::Malformed { message: error.to_string() })?;
        Ok(Self { report: written.checked()?, jws })
    }

    /// Returns the verifier's name, as the report claims.
    #[must_use]
    pub fn verifier(&self) -> &VerifierName {
        &self.report.verifier
    }

    /// Returns the id of the instance, as the report claims.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.report.instance
    }

    /// Returns the time at which it was made, as the report claims.
    #[must_use]
    pub fn issued_at(&self) -> UnixTime {
        self.report.issued_at
    }

    /// Returns the number of the report, as it claims.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.report.sequence
    }

    /// Returns true when the header names `key`.
    #[must_use]
    pub fn names_key(&self, key: &PublicKey) -> bool {
        self.jws.header.key_id.as_ref() == Some(key.id())
    }

    /// Verifies the report with the key that was enrolled under its verifier's name, for the broker of `issuer`.
    ///
    /// # Errors
    ///
    /// [`ReportError`] with the first check that failed. The caller checks `seq` against the instance's latest report.
    pub fn verify(self, key: &PublicKey, issuer: &str, now: UnixTime) -> Result<Report, ReportError> {
        let kid = self.jws.header.key_id.as_ref();
        if kid != Some(key.id()) {
            return Err(ReportError::OtherKey { kid: kid.map(|kid| shorten(kid.as_str())) });
        }
        self.jws.check_signature(key).map_err(|_| ReportError::BadSignature)?;
        let report = self.report;
        if report.audience != issuer {
            return Err(ReportError::WrongAudience { found: shorten(&report.audience) });
        }
        let by = now.saturating_since(report.issued_at).max(report.issued_at.saturating_since(now));
        // Whole seconds in the report, fractions in the clock.
        if by.as_secs() > Report::MAX_CLOCK_DIFFERENCE.as_secs() {
            return Err(ReportError::NotCurrent { by });
        }
        Ok(report)
    }
}

#[derive(Deserialize)]
struct RawReport {
    iss: String,
    aud: String,
    iat: u64,
    instance: InstanceId,
    seq: u64,
    epoch: String,
    cursor: u64,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    true_at: Option<u64>,
    bound: ReportedBound,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    kids: Option<KeySetDigest>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    drained: Option<u64>,
    #[serde(default)]
    leaving: bool,
}

impl RawReport {
    fn checked(self) -> Result<Report, ReportError> {
        let malformed = |message: String| ReportError::Malformed { message };
        let name = self.iss.strip_prefix(Report::ISSUER_PREFIX);
        let name = name.ok_or_else(|| malformed(String::from("`iss` is `verifier:<name>`")))?;
        if self.drained.is_some_and(|drained| drained > self.cursor) {
            return Err(malformed(String::from("`drained` lies after `cursor`")));
        }
        Ok(Report {
            verifier: VerifierName::parse(name).map_err(|error| malformed(error.to_string()))?,
            audience: self.aud,
            issued_at: UnixTime::from_seconds(self.iat),
            instance: self.instance,
            sequence: self.seq,
            applied: FeedCursor::new(&self.epoch, self.cursor).map_err(|error| malformed(error.to_string()))?,
            true_at: self.true_at.map(UnixTime::from_seconds),
            bound: self.bound,
            key_set: self.kids,
            drained: self.drained,
            leaving: self.leaving,
        })
    }
}

impl<'de> Deserialize<'de> for ReportedBound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundVisitor;

        impl de::Visitor<'_> for BoundVisitor {
            type Value = ReportedBound;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("seconds, or `none`")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<ReportedBound, E> {
                Ok(ReportedBound::Seconds(seconds))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ReportedBound, E> {
                if text == "none" {
                    Ok(ReportedBound::Unbounded)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }

        deserializer.deserialize_any(BoundVisitor)
    }
}

impl serde::Serialize for ReportedBound {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
            Self::Unbounded => serializer.serialize_str("none"),
        }
    }
}
