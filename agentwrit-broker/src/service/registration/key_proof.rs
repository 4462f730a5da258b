//! Proof of the key of a registration.

use agentwrit_verify::{
    Thumbprint,
    proof::{PresentedProof, ProofVerifier},
};

use crate::service::Error;

/// Proof of the key that a registration names (RFC 9449 §5), in the registration's `DPoP` headers.
#[derive(Debug)]
pub(crate) struct KeyProof {
    pub(crate) verifier: ProofVerifier,
    pub(crate) method: String,
    pub(crate) path: String,
    /// Values of the headers.
    pub(crate) headers: Vec<Vec<u8>>,
}

impl KeyProof {
    pub(super) fn check(&self, public_key: &[u8; 32]) -> Result<(), Error> {
        let presented = PresentedProof::new(&self.method, &self.path).proofs(self.headers.iter().map(Vec::as_slice));
        let checked = self.verifier.verify_proof(&presented, Some(&Thumbprint::of_ed25519(public_key)));
        checked.map(drop).map_err(Error::KeyProof)
    }
}
