//! The broker's keys.

use super::Tx;
use crate::{
    domain::{KeyState, StoredKey},
    store::{StoreError, keys::ReadKeys},
};

impl ReadKeys for Tx<'_> {
    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.flushed()?.signing_keys()
    }

    fn keys_cursor(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.batch.borrow().head.keys_cursor).unwrap_or(0))
    }
}

impl Tx<'_> {
    /// Adds a key, or replaces the row of the same id. The caller [advances the cursor](Self::advance_cursor).
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn put_signing_key(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        self.change(|rows| rows.put_signing_key(key))?;
        if key.state == KeyState::Withdrawn {
            self.batch.borrow_mut().withdrawn_keys.push(key.kid.clone());
        }
        Ok(())
    }

    /// Takes a cursor of the revocation log for a change of the keys, without an entry: followers receive the change at once.
    /// The job is the last one of its transaction, so that later ones sign with the keys that it leaves in force.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn advance_cursor(&mut self) -> Result<u64, StoreError> {
        let head = &mut self.batch.borrow_mut().head;
        let cursor = head.next_cursor();
        head.keys_cursor = cursor;
        u64::try_from(cursor).map_err(|_| StoreError::corrupt(format!("`{cursor}` is no cursor")))
    }
}
