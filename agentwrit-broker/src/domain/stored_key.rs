//! A key of the brokers that share a database.

pub use agentwrit_protocol::KeyState;
use agentwrit_verify::UnixTime;

/// A key as the database keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Identifier: of a token key the thumbprint, which its tokens carry.
    pub kid: String,
    /// Purpose.
    pub purpose: KeyPurpose,
    /// Ed25519 public key of a token key.
    pub public: Option<[u8; 32]>,
    /// Secret, encrypted.
    pub sealed: Vec<u8>,
    /// State.
    pub state: KeyState,
    /// Time at which it was made.
    pub created_at: UnixTime,
    /// Time since which it is or was active.
    pub activated_at: Option<UnixTime>,
    /// Time until which it verifies, once it is retiring.
    pub retire_at: Option<UnixTime>,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kid, purpose, state, .. } = self;
        f.debug_struct("StoredKey")
            .field("kid", kid)
            .field("purpose", purpose)
            .field("state", state)
            .finish_non_exhaustive()
    }
}

/// Purpose of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Signs tokens and the revocation feed.
    Token,
    /// Authenticates challenge nonces.
    Nonce,
}

impl KeyPurpose {
    /// Returns the name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Nonce => "nonce",
        }
    }

    /// Parses the name in the database.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Token, Self::Nonce].into_iter().find(|purpose| purpose.as_str() == text)
    }
}
