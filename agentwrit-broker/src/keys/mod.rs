//! Keys and secrets: the broker's keys in files or in sealed rows of the database, the admin secret, and the source of random
//! bytes.

mod active;
mod admin_secret;
mod broker_keys;
mod custody;
mod entropy;
mod key_encryption;
mod key_files;
mod migration;
mod nonce_file;
mod private_file;
mod row;
mod sealed;
mod signing;
mod start;
mod timed_files;
mod weak_secrets;

pub use agentwrit_protocol::Secret;

pub(crate) use self::{
    active::InForce,
    broker_keys::{BrokerKeys, NonceKey},
    custody::{Custody, OpenKeys, UnusableKey},
    entropy::{Entropy, OsEntropy, random},
    key_encryption::KeyEncryptionKey,
    key_files::KeyFiles,
    migration::seal_key_files,
    nonce_file::beside as nonce_file_beside,
    row::as_made,
    sealed::{SealedKeys, check_complete},
    start::{OpenKeysError, examine_key_files, open_key_files},
};
pub use self::{
    admin_secret::{AdminSecret, AdminSecretError, Busy},
    custody::CustodyError,
    entropy::EntropyError,
    key_encryption::KeyEncryptionKeyError,
    sealed::SealedKeyError,
    signing::KeyFileError,
};
#[cfg(test)]
pub(crate) use self::{entropy::SeededEntropy, row::new_row, sealed::tests::kek as test_kek};

/// Returns true if a text may be a secret that the broker issued: a token, or 64 hexadecimal digits, as launch tokens, client
/// secrets and nonces are. They are pasted in place of names; a text of this form is never recorded.
pub(crate) fn is_secret_shaped(text: &str) -> bool {
    let longest_name = 128;
    text.len() > longest_name || text.split(|c: char| !c.is_ascii_hexdigit()).any(|digits| digits.len() >= 64)
}
