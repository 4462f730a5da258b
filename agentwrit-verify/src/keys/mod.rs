//! Trusted keys.
//!
//! 1. A key set is parsed from a JWK Set (RFC 7517 §5, RFC 8037 §2). Keys of other types or uses are skipped, as RFC
//!    7517 requires; an Ed25519 signing key that is malformed, of small order or has a duplicate `kid` rejects the set.
//! 2. A key has its canonical encoding (RFC 8032 §5.1.3) and is not of small order. Both are checked once, on load:
//!    verification with canonical `S` and an `R` that is not of small order is then as strict as `verify_strict`, and
//!    cheaper.
//! 3. A set is immutable. [`TrustedKeys`](crate::TrustedKeys) publishes the current one.

mod error;
mod jwk;
mod key_id;
mod key_set;
mod public_key;

pub(crate) use self::public_key::{decompress, limit_tables, verifies};
pub use self::{error::KeySetError, key_id::KeyId, key_set::KeySet, public_key::PublicKey};
