//! Documents of evidence, as the store keeps them.
//!
//! 1. They are compressed: reports of one fleet differ in little but their signatures. What is served is the JSON that was
//!    compressed, byte for byte.
//! 2. All of them take at most [`MAX_KEPT`] bytes; the oldest is removed first. Each takes at most [`MAX_DOCUMENT`], so that
//!    the latest ones are kept whatever verifiers report.
//! 3. Of a larger one the reports of the verifier that takes most are omitted. The reports of as many instances as there
//!    may be take less than half of it, unless their verifier fills them up.

use std::collections::BTreeMap;

use agentwrit_verify::{confirmation::ConfirmationEvidence, report::VerifierName};
use miniz_oxide::{deflate::compress_to_vec_zlib, inflate::decompress_to_vec_zlib_with_limit};

use crate::store::StoreError;

/// Largest size of all evidence that is kept, in bytes.
pub(super) const MAX_KEPT: u64 = 64 * 1024 * 1024;
/// Size of all evidence from which on the log warns that the oldest will be removed, in bytes.
pub(super) const NEARLY_FULL: u64 = MAX_KEPT / 5 * 4;
/// Largest size of a document, in bytes.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;
/// Largest length of the JSON of a document, in bytes: more than that of as many instances as there may be.
const MAX_JSON: usize = 64 * 1024 * 1024;
/// Of 0 to 10: more takes longer for a few per cent.
const COMPRESSION: u8 = 3;

/// Evidence as the store keeps it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) compressed: Vec<u8>,
    /// SHA-256 of its JSON, in hexadecimal.
    pub(super) digest: String,
}

impl Document {
    /// Compresses evidence. It takes milliseconds for each thousand instances.
    pub(super) fn of(mut evidence: ConfirmationEvidence) -> Self {
        loop {
            let compressed = compress_to_vec_zlib(&evidence.to_json(), COMPRESSION);
            if compressed.len() <= MAX_DOCUMENT || !omit_largest(&mut evidence) {
                return Self { compressed, digest: evidence.digest() };
            }
        }
    }

    /// Returns the JSON of a document.
    pub(super) fn decompress(compressed: &[u8]) -> Result<Vec<u8>, StoreError> {
        decompress_to_vec_zlib_with_limit(compressed, MAX_JSON)
            .map_err(|error| StoreError::Corrupt { cause: format!("the evidence of a confirmation: {error}") })
    }
}

/// Omits the reports of the verifier whose reports take most. Returns false when there are none.
fn omit_largest(evidence: &mut ConfirmationEvidence) -> bool {
    let mut reports: BTreeMap<&VerifierName, String> = BTreeMap::new();
    for instance in &evidence.instances {
        reports.entry(&instance.verifier).or_default().extend(instance.report.as_deref());
    }
    let size = |reports: &String| compress_to_vec_zlib(reports.as_bytes(), COMPRESSION).len();
    let with_any = reports.iter().filter(|(_, reports)| !reports.is_empty());
    let Some(largest) = with_any.max_by_key(|(_, reports)| size(reports)).map(|(name, _)| (*name).clone()) else {
        return false;
    };
    tracing::warn!(
        component = "confirmation",
        verifier = largest.as_str(),
        cursor = %evidence.cursor,
        "the reports of this verifier are omitted from the evidence: they are larger than those of any follower"
    );
    let of_largest = evidence.instances.iter_mut().filter(|instance| instance.verifier == largest);
    of_largest.for_each(|instance| instance.report = None);
    true
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::{
        FeedCursor, KeySet, UnixTime,
        confirmation::{EvidenceDefect, InstanceEvidence, VerifierEvidence},
        issue::SigningKey,
        report::{InstanceId, Report, ReportedBound},
    };

    use super::*;
    use crate::{
        domain::InstanceState,
        keys::{Entropy as _, SeededEntropy},
    };

    const ISSUER: &str = "https://agentwrit.local";
    fn at() -> UnixTime {
        UnixTime::from_seconds(1_800_000_000)
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[5; 32]).unwrap()
    }

    /// Evidence of instances that reported the cursor, a report for each.
    fn evidence(instances: &[(&str, usize)], report: impl Fn(&Report) -> String) -> ConfirmationEvidence {
        let (random, cursor) = (SeededEntropy::new(1), FeedCursor::parse("9f2c41d07a6be583.1842").unwrap());
        let verifier = |(name, _): &(&str, usize)| VerifierEvidence {
            name: VerifierName::parse(name).unwrap(),
            public_key: key().public_key().clone(),
            max_bound: Some(60),
            added_at: at(),
        };
        let instance = |(name, number): (&str, usize)| {
            let mut id = [0; 16];
            random.fill(&mut id);
            let made = Report {
                verifier: VerifierName::parse(name).unwrap(),
                audience: ISSUER.to_owned(),
                issued_at: at(),
                instance: InstanceId::from_bytes(id),
                sequence: number as u64 * 7 + 1,
                applied: cursor.clone(),
                bound: ReportedBound::Seconds(30),
                key_set: Some(KeySet::new([key().public_key().clone()]).unwrap().digest()),
                true_at: Some(at()),
                drained: Some(1841),
                leaving: false,
            };
            let (verifier, instance) = (made.verifier.clone(), made.instance);
            let report = Some(report(&made));
            InstanceEvidence { verifier, instance, fenced_at: None, public_key: None, report }
        };
        let each = instances.iter().flat_map(|(name, count)| (0..*count).map(move |number| (*name, number)));
        ConfirmationEvidence {
            issuer: ISSUER.to_owned(),
            cursor: cursor.clone(),
            committed_at: at(),
            decided_at: at(),
            complete_from: at(),
            verifiers: instances.iter().map(verifier).collect(),
            instances: each.map(instance).collect(),
        }
    }

    #[test]
    fn reports_of_largest_fleet_take_less_than_half_of_a_document() {
        let (of_sample, sample) = (500, evidence(&[("records-api", 500)], |report| report.sign(&key())));
        let (json, document) = (sample.to_json(), Document::of(sample.clone()));
        let each = document.compressed.len() / of_sample;
        assert!(each * 10_000 < MAX_DOCUMENT / 2, "{each} bytes of {} for each instance", json.len() / of_sample);
        assert_eq!((Document::decompress(&document.compressed), document.digest), (Ok(json), sample.digest()));
    }

    #[test]
    fn omits_reports_of_verifier_that_fills_them_and_keeps_those_of_others() {
        // As many as one of two verifiers may have, each as long as is kept.
        let random = SeededEntropy::new(2);
        let filled = |report: &Report| {
            let mut filling = [0; InstanceState::MAX_KEPT_REPORT * 3 / 4];
            random.fill(&mut filling);
            if report.verifier.as_str() == "z-small" {
                report.sign(&key())
            } else {
                data_encoding::BASE64URL_NOPAD.encode(&filling)
            }
        };
        let made = evidence(&[("a-large", 7500), ("z-small", 2)], filled);
        let document = Document::of(made.clone());
        assert!(document.compressed.len() <= MAX_DOCUMENT);
        let kept: ConfirmationEvidence =
            serde_json::from_slice(&Document::decompress(&document.compressed).unwrap()).unwrap();
        assert_eq!((kept.digest(), kept.instances.len()), (document.digest, 7502));
        let with_reports: Vec<_> = kept.instances.iter().filter(|instance| instance.report.is_some()).collect();
        assert_eq!(with_reports, made.instances[7500..].iter().collect::<Vec<_>>());
        assert_eq!(kept.check().map_err(|error| error.defect), Err(EvidenceDefect::NoReport));
    }

    #[test]
    fn rejects_document_that_is_damaged() {
        let mut damaged = Document::of(evidence(&[("api", 1)], |report| report.sign(&key()))).compressed;
        damaged.pop();
        assert!(matches!(Document::decompress(&damaged), Err(StoreError::Corrupt { .. })));
    }
}
