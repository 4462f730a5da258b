//! Recorded times, and nonces that were used. Issuing a nonce stores nothing.

use std::time::Duration;

use agentwrit_verify::UnixTime;

use super::StoreError;
use crate::clock::RecordedTime;

/// Reads of recorded times.
pub trait ReadMeta {
    /// Returns the time that had passed for certain when the store was last used, and the newest record.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn recorded_time(&self) -> Result<RecordedTime, StoreError>;

    /// Returns the time until which expired nonces were deleted.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError>;
}

/// Changes to recorded times and used nonces.
pub trait WriteMeta {
    /// Records the time that has passed for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn record_certain_time(&mut self, certain: UnixTime) -> Result<(), StoreError>;

    /// Records the use of a nonce until it would expire. Returns false if it was used before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn spend_nonce(&mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError>;

    /// Makes every nonce that expires until then count as expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn expire_nonces_until(&mut self, until: UnixTime) -> Result<(), StoreError>;

    /// Returns true if no broker has deleted expired rows for `interval`: then this one is to do it now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn take_housekeeping(&mut self, _interval: Duration) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Makes the smallest durable change.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn probe(&mut self) -> Result<(), StoreError>;
}
