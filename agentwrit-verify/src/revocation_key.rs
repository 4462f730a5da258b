//! Level of a revocation, and lookup key of an entry.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Target of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "verifiers must check each level")]
pub enum Level {
    /// One token, by `jti`.
    Token,
    /// A renewal family and what was delegated from it, by `sid`.
    Session,
    /// A subject, and every token with the subject in its delegation chain.
    Agent,
    /// Every token of a task.
    Task,
    /// A root delegator's own tokens and every token whose chain starts with it.
    Chain,
    /// Everything that the issuer issued until then: after a restored backup.
    Issuer,
}

impl Level {
    /// The level's name in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Agent => "agent",
            Self::Task => "task",
            Self::Chain => "chain",
            Self::Issuer => "issuer",
        }
    }

    /// The level's letter in the feed.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Token => 't',
            Self::Session => 's',
            Self::Agent => 'a',
            Self::Task => 'k',
            Self::Chain => 'c',
            Self::Issuer => 'i',
        }
    }

    /// Returns true when the level revokes only tokens issued in or before its second.
    pub(crate) fn is_not_before(self) -> bool {
        match self {
            Self::Agent | Self::Task | Self::Chain | Self::Issuer => true,
            Self::Token | Self::Session => false,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lookup key of an entry, which does not disclose its target: see rule 4 of the [module](crate::revocation).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RevocationKey([u8; 16]);

impl RevocationKey {
    /// The key of `target` at `level` for tokens of `issuer`.
    #[must_use]
    pub fn of(level: Level, issuer: &str, target: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update([u8::try_from(level.letter()).unwrap_or_default(), 0]);
        digest.update(issuer.as_bytes());
        digest.update([0]);
        digest.update(target.as_bytes());
        let mut key = [0; 16];
        for (byte, of_digest) in key.iter_mut().zip(digest.finalize()) {
            *byte = of_digest;
        }
        Self(key)
    }

    /// Wraps a decoded key of a feed.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}
