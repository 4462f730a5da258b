//! Proofs that were accepted, as the brokers of one store record them (RFC 9449 §11.1).

use std::time::Duration;

use agentwrit_verify::UnixTime;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Age up to which a proof is accepted.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Tolerance for a client whose clock is ahead.
pub(crate) const LEEWAY: Duration = Duration::from_secs(5);

/// Difference between the clocks of brokers that share a store.
const SKEW: Duration = Duration::from_secs(5);

/// A proof that was accepted with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsedProof {
    /// Digest of the part that is signed, which names the key, the token and the `jti`.
    pub(super) digest: [u8; 32],
    /// Time until which its use must be kept. It depends on nothing but the proof: after its deletion the proof is rejected.
    pub(super) forgotten_at: UnixTime,
}

impl UsedProof {
    /// Reads an accepted proof. `None` for a text that no verifier of proofs accepts.
    pub(crate) fn read(proof: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct IssuedAt {
            iat: f64,
        }

        let signature_at = proof.iter().rposition(|byte| *byte == b'.')?;
        let (signed, _) = proof.split_at_checked(signature_at)?;
        let payload = signed.split(|byte| *byte == b'.').nth(1)?;
        let IssuedAt { iat } = serde_json::from_slice(&BASE64URL_NOPAD.decode(payload).ok()?).ok()?;
        let issued_at = UnixTime::from_seconds(Duration::try_from_secs_f64(iat).ok()?.as_secs());
        let forgotten_at = issued_at.saturating_add(WINDOW + LEEWAY + SKEW);
        Some(Self { digest: Sha256::digest(signed).into(), forgotten_at })
    }
}

#[cfg(test)]
mod tests {
    use agentwrit_verify::proof::ProofRequest;
    use ed25519_dalek::SigningKey;

    use super::*;

    fn proof(jti: u8) -> String {
        let request = ProofRequest::new("POST", "https://a.example/", UnixTime::from_seconds(1000), [jti; 16]);
        request.access_token("token").sign(&SigningKey::from_bytes(&[1; 32]))
    }

    #[test]
    fn proof_is_kept_until_no_broker_accepts_it() {
        let used = UsedProof::read(proof(1).as_bytes()).unwrap();
        assert_eq!(used.forgotten_at, UnixTime::from_seconds(1070));
        assert_eq!(UsedProof::read(proof(1).as_bytes()), Some(used));
        assert_ne!(UsedProof::read(proof(2).as_bytes()).unwrap().digest, used.digest);
    }

    #[test]
    fn another_encoding_of_signature_is_the_same_proof() {
        let text = proof(1);
        let (signed, _) = text.rsplit_once('.').unwrap();
        assert_eq!(UsedProof::read(format!("{signed}.AAAA").as_bytes()), UsedProof::read(text.as_bytes()));
    }

    #[test]
    fn reads_no_text_that_is_not_a_proof() {
        for text in ["", ".", "a.b", "a.b.c", "..", "e30.e30.e30"] {
            assert_eq!(UsedProof::read(text.as_bytes()), None, "{text}");
        }
    }
}
