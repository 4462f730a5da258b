//! Names in reports: verifiers, instances and key sets.

use std::{fmt, sync::Arc};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::keys::{KeyId, KeySet};

/// Name under which the operator enrolled a verifier: 1 to 64 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifierName(Arc<str>);

impl VerifierName {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 64;

    /// Parses a name.
    ///
    /// # Errors
    ///
    /// [`ReportNameError::Verifier`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ReportNameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let starts_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        if starts_well && text.len() <= Self::MAX_LENGTH && text.bytes().all(is_allowed) {
            return Ok(Self(text.into()));
        }
        Err(ReportNameError::Verifier)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VerifierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of one process of a verifier: 16 random bytes, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId([u8; 16]);

impl InstanceId {
    /// Takes 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses 32 characters of `0-9 a-f`.
    ///
    /// # Errors
    ///
    /// [`ReportNameError::Instance`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ReportNameError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ReportNameError::Instance)?;
        bytes.try_into().map(Self).map_err(|_| ReportNameError::Instance)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Digest of the ids in a key set, for comparing two: the first 16 bytes of SHA-256 over the ids in the order of their
/// bytes, each followed by a line feed, in unpadded base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeySetDigest([u8; 16]);

impl KeySetDigest {
    /// Parses 22 characters of base64url.
    ///
    /// # Errors
    ///
    /// [`ReportNameError::KeySet`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ReportNameError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| ReportNameError::KeySet)?;
        bytes.try_into().map(Self).map_err(|_| ReportNameError::KeySet)
    }
}

impl KeySet {
    /// Returns the digest of the ids.
    #[must_use]
    pub fn digest(&self) -> KeySetDigest {
        let mut ids: Vec<&KeyId> = self.iter().map(crate::keys::PublicKey::id).collect();
        ids.sort();
        let hash = ids.iter().fold(Sha256::new(), |hash, id| hash.chain_update(id.as_str()).chain_update(b"\n"));
        let (digest, _) =
            hash.finalize().0.split_first_chunk().map_or(([0; 16], &[][..]), |(half, rest)| (*half, rest));
        KeySetDigest(digest)
    }
}

impl fmt::Display for KeySetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

/// A text is not a name of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportNameError {
    /// Invalid name of a verifier.
    #[error("a verifier's name is 1 to 64 of `A-Z a-z 0-9 . _ -` and starts with a letter or a digit")]
    Verifier,
    /// Invalid id of an instance.
    #[error("an instance is 32 of `0-9 a-f`")]
    Instance,
    /// Invalid digest of a key set.
    #[error("a digest of a key set is 16 bytes in unpadded base64url")]
    KeySet,
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(VerifierName, InstanceId, KeySetDigest);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicKey;

    #[test]
    fn parses_names_by_rule() {
        for text in ["a", "payments-api", "A.b_c-9", &"n".repeat(64)] {
            assert_eq!(VerifierName::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "-a", ".", "a b", "a/b", "é", "a:b", &"n".repeat(65)] {
            assert_eq!(VerifierName::parse(text), Err(ReportNameError::Verifier), "{text}");
        }
        let id = "0f".repeat(16);
        assert_eq!(InstanceId::parse(&id).unwrap().to_string(), id);
        for text in ["", "0f", &"0F".repeat(16), &"0f".repeat(17)] {
            assert_eq!(InstanceId::parse(text), Err(ReportNameError::Instance), "{text}");
        }
    }

    #[test]
    fn digest_depends_on_ids_and_not_on_their_order() {
        let key = |n| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[n; 32]);
            PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap()
        };
        let digest = |keys: &[PublicKey]| KeySet::new(keys.iter().cloned()).unwrap().digest();
        assert_eq!(digest(&[key(1), key(2)]), digest(&[key(2), key(1)]));
        assert_ne!(digest(&[key(1), key(2)]), digest(&[key(1)]));
        let text = digest(&[key(1)]).to_string();
        assert_eq!(KeySetDigest::parse(&text), Ok(digest(&[key(1)])));
        assert_eq!(KeySetDigest::parse("AAAA"), Err(ReportNameError::KeySet));
    }
}
