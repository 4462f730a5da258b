//! Evidence of a confirmation, for auditors.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

use crate::{
    clock::UnixTime,
    confirmation::{Commit, fence},
    feed_cursor::FeedCursor,
    keys::PublicKey,
    report::{InstanceId, ReportError, UnverifiedReport, VerifierName},
};

/// Facts that a broker decided a confirmation by: the enrolled verifiers, and the latest signed report of each instance.
///
/// [`check`](Self::check) repeats the decision without the broker: each instance that it names reported the cursor, or was
/// fenced. It can't tell whether the broker named all instances, and when the change was committed; the audit trail has the
/// enrolments and the change.
///
/// The event `revocation_confirmed` has the [digest](Self::digest).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct ConfirmationEvidence {
    /// Issuer of the broker, which is the audience of the reports.
    pub issuer: String,
    /// Cursor of the change.
    pub cursor: FeedCursor,
    /// Time of its commit.
    pub committed_at: UnixTime,
    /// Time of the decision, on the clock of the commit.
    pub decided_at: UnixTime,
    /// Time from which the broker knew every instance.
    pub complete_from: UnixTime,
    /// Enrolled verifiers.
    pub verifiers: Vec<VerifierEvidence>,
    /// Instances that might accept tokens.
    pub instances: Vec<InstanceEvidence>,
}

/// An enrolled verifier.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct VerifierEvidence {
    /// Its name.
    pub name: VerifierName,
    /// Ed25519 key that verifies its reports, in unpadded base64url.
    #[serde(serialize_with = "encode_key", deserialize_with = "decode_key")]
    pub public_key: PublicKey,
    /// Largest bound that its instances may report, in seconds.
    pub max_bound: Option<u64>,
    /// Time of its enrolment.
    pub added_at: UnixTime,
}

impl PartialEq for VerifierEvidence {
    fn eq(&self, other: &Self) -> bool {
        let key = |of: &Self| *of.public_key.as_bytes();
        (&self.name, key(self), self.max_bound, self.added_at)
            == (&other.name, key(other), other.max_bound, other.added_at)
    }
}

impl Eq for VerifierEvidence {}

/// An instance of a verifier.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract")]
pub struct InstanceEvidence {
    /// Its verifier.
    pub verifier: VerifierName,
    /// Its id.
    pub instance: InstanceId,
    /// Time from which it was fenced; `None` when it reported the cursor.
    pub fenced_at: Option<UnixTime>,
    /// Key that verifies its report, if its verifier has had another one since.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "encode_former_key",
        deserialize_with = "decode_former_key"
    )]
    pub public_key: Option<PublicKey>,
    /// Its latest report, signed; `None` when it was too long to keep.
    pub report: Option<String>,
}

impl PartialEq for InstanceEvidence {
    fn eq(&self, other: &Self) -> bool {
        let key = |of: &Self| of.public_key.as_ref().map(|key| *key.as_bytes());
        (&self.verifier, self.instance, self.fenced_at, key(self), &self.report)
            == (&other.verifier, other.instance, other.fenced_at, key(other), &other.report)
    }
}

impl Eq for InstanceEvidence {}

/// Number of instances by the reason for which they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EvidenceFigures {
    /// Instances that reported the cursor.
    pub confirmed: u64,
    /// Instances that were fenced.
    pub fenced: u64,
}

impl ConfirmationEvidence {
    /// Returns SHA-256 of the evidence as JSON without white space, with the members in the order of the contract, in
    /// hexadecimal: that of the broker's response as it is.
    #[must_use]
    pub fn digest(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.to_json()))
    }

    /// Returns the evidence as JSON, as a broker sends it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Every member is a string, a number or a list of such.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Verifies the signature of each report, and that each instance had reported the cursor or was fenced.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`] with the first instance of which that is not proved.
    pub fn check(&self) -> Result<EvidenceFigures, EvidenceError> {
        let mut figures = EvidenceFigures::default();
        for evidence in &self.instances {
            match self.check_instance(evidence) {
                Ok(None) => figures.confirmed = figures.confirmed.saturating_add(1),
                Ok(Some(_)) => figures.fenced = figures.fenced.saturating_add(1),
                Err(defect) => {
                    let (verifier, instance) = (evidence.verifier.clone(), evidence.instance);
                    return Err(EvidenceError { verifier, instance, defect });
                }
            }
        }
        Ok(figures)
    }

    /// Returns the time from which the instance was fenced; `None` when it reported the cursor.
    fn check_instance(&self, evidence: &InstanceEvidence) -> Result<Option<UnixTime>, EvidenceDefect> {
        let enrolled = self.verifiers.iter().find(|verifier| verifier.name == evidence.verifier);
        let enrolled = enrolled.ok_or(EvidenceDefect::NotEnrolled)?;
        let key = evidence.public_key.as_ref().unwrap_or(&enrolled.public_key);
        let text = evidence.report.as_deref().ok_or(EvidenceDefect::NoReport)?;
        let unverified = UnverifiedReport::decode(text).map_err(EvidenceDefect::Report)?;
        if (unverified.verifier(), unverified.instance()) != (&evidence.verifier, evidence.instance) {
            return Err(EvidenceDefect::OtherInstance);
        }
        let issued_at = unverified.issued_at();
        let report = unverified.verify(key, &self.issuer, issued_at).map_err(EvidenceDefect::Report)?;
        let fenced_at = if report.applied.has_reached(&self.cursor) {
            None
        } else {
            let commit = Commit { cursor: self.cursor.clone(), at: self.committed_at };
            let fenced_at = report.bound.duration().map(|bound| fence(&commit, bound));
            Some(fenced_at.filter(|fenced_at| *fenced_at <= self.decided_at).ok_or(EvidenceDefect::NotConfirmed)?)
        };
        if fenced_at == evidence.fenced_at { Ok(fenced_at) } else { Err(EvidenceDefect::NotConfirmed) }
    }
}

/// An instance of which evidence does not prove that it confirmed a change or was fenced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instance {instance} of `{verifier}`: {defect}")]
#[non_exhaustive]
pub struct EvidenceError {
    /// Its verifier.
    pub verifier: VerifierName,
    /// Its id.
    pub instance: InstanceId,
    /// Reason.
    pub defect: EvidenceDefect,
}

/// Reason for which evidence does not prove that an instance confirmed a change or was fenced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceDefect {
    /// The evidence names no such verifier.
    #[error("its verifier is not among the enrolled ones")]
    NotEnrolled,
    /// The report was too long to keep.
    #[error("its report was not kept")]
    NoReport,
    /// The report is of another instance.
    #[error("its report is of another instance")]
    OtherInstance,
    /// The report does not verify.
    #[error("its report: {0}")]
    Report(ReportError),
    /// It neither reported the cursor nor was fenced at the time of the decision, or not since the time that is given.
    #[error("its report neither names the cursor nor a bound that had passed, as the evidence states")]
    NotConfirmed,
}

fn encode_key<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64URL_NOPAD.encode(key.as_bytes()))
}

fn decode_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
    let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes: [u8; 32] = bytes.ok_or_else(|| de::Error::custom("expected 32 bytes in unpadded base64url"))?;
    PublicKey::from_bytes(&bytes).map_err(de::Error::custom)
}

#[expect(clippy::ref_option, reason = "serde calls it")]
fn encode_former_key<S: Serializer>(key: &Option<PublicKey>, serializer: S) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => encode_key(key, serializer),
        None => serializer.serialize_none(),
    }
}

fn decode_former_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PublicKey>, D::Error> {
    decode_key(deserializer).map(Some)
}
