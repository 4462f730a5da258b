//! Keys and secrets: the signing key's file, the admin secret, and the source of random bytes.

mod entropy;
mod secret;
mod signing;

pub use agentwrit_protocol::Secret;

#[cfg(test)]
pub(crate) use self::entropy::SeededEntropy;
pub use self::{
    entropy::EntropyError,
    secret::{AdminSecret, AdminSecretError, Busy},
    signing::KeyFileError,
};
pub(crate) use self::{
    entropy::{Entropy, OsEntropy, random},
    secret::is_secret_shaped,
    signing::KeyFile,
};
