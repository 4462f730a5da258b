//! A key of the broker, as its store keeps it.

pub use agentwrit_protocol::KeyState;
use agentwrit_verify::UnixTime;

/// A key as the store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Identifier: of a token key the thumbprint, which its tokens carry.
    pub kid: String,
    /// Purpose.
    pub purpose: KeyPurpose,
    /// Ed25519 public key of a token key.
    pub public: Option<[u8; 32]>,
    /// Secret, encrypted together with state and times. Empty where the secret is in a file, and once the key is not published
    /// any more.
    pub sealed: Vec<u8>,
    /// State.
    pub state: KeyState,
    /// Time at which it was made.
    pub created_at: UnixTime,
    /// Time from which a rotation activates it, if it is prepared. A key that was prepared by hand has none.
    pub activates_at: Option<UnixTime>,
    /// Time since which it is or was active.
    pub activated_at: Option<UnixTime>,
    /// Time until which it verifies, once it is retiring.
    pub retire_at: Option<UnixTime>,
    /// Time of the latest change of its state.
    pub changed_at: UnixTime,
    /// Cursor of that change in the revocation log, 0 for a key that the broker began with.
    pub cursor: u64,
}

impl StoredKey {
    /// Returns true if the key ended and its row holds the secret again.
    #[must_use]
    pub fn is_put_back(&self) -> bool {
        !self.state.is_published() && !self.sealed.is_empty()
    }
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
