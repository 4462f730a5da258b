//! Times in the `meta` table, and nonces that were used. Issuing a nonce stores nothing.

use agentwrit_verify::UnixTime;
use rusqlite::params;

use super::{
    Reader, StoreError, Tx,
    codec::{micros, optional_time, time},
};
use crate::clock::RecordedTime;

impl Reader<'_> {
    /// Returns the time that had passed for certain when the store was last used, and the newest record.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) fn recorded_time(&self) -> Result<RecordedTime, StoreError> {
        let certain = self.single("SELECT certain_time FROM meta", [], |row| optional_time(row, 0))?;
        let event = "SELECT max(at) FROM (SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1)";
        let event = self.single(event, [], |row| optional_time(row, 0))?;
        let mark = "SELECT max(revoked_at) FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer')";
        let mark = self.single(mark, [], |row| optional_time(row, 0))?;
        Ok(RecordedTime { certain, newest: event.max(mark).unwrap_or_default() })
    }

    /// Returns the time until which expired nonces were deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError> {
        self.single("SELECT nonces_forgotten_until FROM meta", [], |row| time(row, 0))
    }
}

impl Tx<'_> {
    /// Records the time that has passed for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn record_certain_time(&mut self, certain: UnixTime) -> Result<(), StoreError> {
        self.execute("UPDATE meta SET certain_time = ?1", [micros(certain)]).map(|_| ())
    }

    /// Records the use of a nonce until it would expire. Returns false if it was used before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn spend_nonce(&mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError> {
        let sql = "INSERT INTO spent_nonces (nonce, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, params![nonce, micros(expires_at)])? == 1)
    }

    /// Makes every nonce that expires until then count as expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn expire_nonces_until(&mut self, until: UnixTime) -> Result<(), StoreError> {
        let sql = "UPDATE meta SET nonces_forgotten_until = max(nonces_forgotten_until, ?1)";
        self.execute(sql, [micros(until)]).map(|_| ())
    }
}
