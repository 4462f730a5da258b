//! Error of key sets.

use super::key_id::KeyId;

/// Reason why a document is not a valid key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Longer than [`KeySet::MAX_JWKS_LENGTH`](crate::KeySet::MAX_JWKS_LENGTH).
    #[error("a key set is at most 65536 bytes, not {length}")]
    TooLong {
        /// Length of the document in bytes.
        length: usize,
    },
    /// Malformed JWK Set.
    #[error("not a JWK set: {message}")]
    Malformed {
        /// Message of the JSON parser.
        message: String,
    },
    /// No Ed25519 signing key among the keys.
    #[error("there is no Ed25519 signing key in the set")]
    Empty,
    /// More than [`KeySet::MAX_KEYS`](crate::KeySet::MAX_KEYS).
    #[error("a key set holds at most 64 keys")]
    TooMany,
    /// Two keys of one name.
    #[error("two keys are called `{kid}`")]
    Duplicate {
        /// The name.
        kid: KeyId,
    },
    /// A name that isn't one.
    #[error("a key id is 1 to 128 printable ASCII characters")]
    InvalidKeyId,
    /// `x` isn't an Ed25519 public key.
    #[error("key `{kid}` is not an Ed25519 public key")]
    InvalidKey {
        /// The key's name.
        kid: KeyId,
    },
    /// A key of small order, for which signatures exist that verify for nearly any message.
    #[error("key `{kid}` is of small order")]
    SmallOrder {
        /// The key's name.
        kid: KeyId,
    },
}
