//! State that each commit goes on from: the end of the trail, the last of each number, and recorded times.

use super::{StoreError, trail::TrailHead};

/// State that a commit goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Number of commits; 0 in a store that has one broker.
    pub(super) generation: i64,
    /// Identifies the revocation log.
    pub(super) epoch: String,
    pub(super) trail: TrailHead,
    /// End of the revocation log: the cursor of the latest revocation or change of the keys ever.
    pub(super) cursor: i64,
    /// Cursor of the latest change of the keys.
    pub(super) keys_cursor: i64,
    pub(super) last_name: i64,
    pub(super) last_launch: i64,
    pub(super) certain_time: Option<i64>,
    pub(super) nonces_forgotten_until: i64,
    pub(super) probes: i64,
    /// Time of the latest job.
    pub(super) last_time: i64,
    /// Time at which a broker last deleted expired rows.
    pub(super) housekept_at: i64,
}

impl Head {
    pub(super) fn next_cursor(&mut self) -> i64 {
        next(&mut self.cursor)
    }

    pub(super) fn next_name(&mut self) -> i64 {
        next(&mut self.last_name)
    }

    pub(super) fn next_launch(&mut self) -> i64 {
        next(&mut self.last_launch)
    }
}

fn next(number: &mut i64) -> i64 {
    *number = number.saturating_add(1);
    *number
}

/// Returns a new identifier of the revocation log.
pub(super) fn new_epoch() -> Result<String, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::internal(format!("no random bytes: {error}")))?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
