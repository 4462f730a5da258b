//! Nonces that were used. Issuing one stores nothing.

use agentwrit_verify::UnixTime;
use rusqlite::params;

use super::{StoreError, Tx, codec::micros};

impl Tx<'_> {
    /// Uses a nonce, and remembers that until it would expire; false when it was used before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn spend_nonce(&mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError> {
        let sql = "INSERT INTO spent_nonces (nonce, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, params![nonce, micros(expires_at)])? == 1)
    }
}
