//! Proofs that were accepted, as the brokers of one store record them (RFC 9449 §11.1).

use std::time::Duration;

use agentwrit_verify::{UnixTime, proof::AcceptedProof};
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
    pub(crate) fn new(signing_input: &str, issued_at: UnixTime) -> Self {
        let digest = Sha256::digest(signing_input).into();
        Self { digest, forgotten_at: issued_at.saturating_add(WINDOW + LEEWAY + SKEW) }
    }
}

impl From<&AcceptedProof> for UsedProof {
    fn from(proof: &AcceptedProof) -> Self {
        Self::new(proof.signing_input(), proof.issued_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_is_kept_until_no_broker_accepts_it() {
        let at = UnixTime::from_seconds(1000);
        let used = UsedProof::new("header.payload", at);
        assert_eq!(used.forgotten_at, UnixTime::from_seconds(1070));
        assert_eq!(UsedProof::new("header.payload", at), used);
        assert_ne!(UsedProof::new("header.other", at).digest, used.digest);
    }
}
