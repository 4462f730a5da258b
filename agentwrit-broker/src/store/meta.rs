//! Reads of recorded times.

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
