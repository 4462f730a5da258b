//! Names of keys.

use std::fmt;

use crate::thumbprint::Thumbprint;

/// Key id (`kid`): 1 to 128 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// Takes a text that is 1 to 128 printable ASCII characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (matches!(text.len(), 1..=128) && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The thumbprint of an Ed25519 key (RFC 7638 §3, RFC 8037 appendix A.3).
    #[must_use]
    pub fn thumbprint(public_key: &[u8; 32]) -> Self {
        Self(Thumbprint::of_ed25519(public_key).to_string().into())
    }

    /// Stands for the name of a key that has none, in errors.
    pub(super) fn unnamed() -> Self {
        Self("(unnamed)".into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
