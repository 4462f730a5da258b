//! Reads of the broker's keys.

use super::StoreError;
use crate::domain::StoredKey;

/// Columns of a key, in the order in which both stores read and write them.
macro_rules! columns {
    () => {
        "kid, purpose, public, sealed, state, created_at, activates_at, activated_at, retire_at, changed_at, cursor"
    };
}
pub(super) use columns;

/// Reads of the broker's keys.
pub trait ReadKeys {
    /// Returns all keys, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError>;

    /// Returns the cursor of the latest change of the keys, 0 before the first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn keys_cursor(&self) -> Result<u64, StoreError>;
}
