//! What the records say about the time.

use agentwrit_verify::UnixTime;

use super::{
    Reader, StoreError, Tx,
    codec::{micros, optional_time},
};
use crate::timekeeping::RecordedTime;

impl Reader<'_> {
    /// The time that had passed for certain when the store was last used, and the newest record.
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
}
