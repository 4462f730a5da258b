//! Nonces that were used. Issuing one stores nothing.

use agentwrit_verify::UnixTime;
use rusqlite::params;

use super::{
    Reader, StoreError, Tx,
    codec::{micros, time},
};

impl Reader<'_> {
    /// The uses of nonces that expired until then are forgotten.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError> {
        self.single("SELECT nonces_forgotten_until FROM meta", [], |row| time(row, 0))
    }
}

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
