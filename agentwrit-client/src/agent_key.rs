//! Key pair of an agent.

use std::fmt;

use agentwrit_protocol::{Base64, PublicKeyBytes, SignatureBytes};
use ed25519_dalek::{Signer as _, SigningKey};
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
