//! Key pair of an agent.

use std::fmt;

use agentwrit_protocol::{Base64, PublicKeyBytes, SignatureBytes};
use agentwrit_verify::{Thumbprint, http_client::pem, proof::ProofRequest};
use ed25519_dalek::{Signer as _, SigningKey, pkcs8::DecodePrivateKey as _};
use zeroize::Zeroizing;

use crate::error::ClientError;

/// Ed25519 key pair of an agent. Wiped when dropped, hidden in `Debug`.
#[derive(Clone)]
pub struct AgentKey(SigningKey);

impl AgentKey {
    /// Generates a key from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoRandomness`] when the operating system has none.
    pub fn generate() -> Result<Self, ClientError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *seed).map_err(|error| ClientError::NoRandomness { reason: error.to_string() })?;
        Ok(Self::from_seed(&seed))
    }

    /// Derives the key from a seed that the caller keeps: 32 random bytes (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads a private key that the caller keeps in a file: PEM with PKCS #8 (RFC 8410), as `awrit agent keygen` and
    /// `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    ///
    /// [`ClientError::InvalidInput`] when it is not the PEM of one Ed25519 private key. The error shows nothing of it.
    pub fn from_pkcs8_pem(pem: &[u8]) -> Result<Self, ClientError> {
        let key = pem::private_key(pem).map_err(|error| ClientError::invalid("agent key", &error))?;
        let other = |_| ClientError::invalid("agent key", "it is not an Ed25519 private key in PKCS #8");
        SigningKey::from_pkcs8_der(&key.der).map(Self).map_err(other)
    }

    /// Returns the thumbprint of the public key (RFC 7638), which tokens that are bound to the key name (`cnf.jkt`).
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of_ed25519(self.0.verifying_key().as_bytes())
    }

    /// Signs a proof (RFC 9449 §4.2). Agents sign the proofs of their requests by themselves.
    #[must_use]
    pub fn sign_proof(&self, proof: &ProofRequest<'_>) -> String {
        proof.sign(&self.0)
    }

    pub(crate) fn public_key(&self) -> PublicKeyBytes {
        Base64(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> SignatureBytes {
        Base64(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKey(…)")
    }
}
