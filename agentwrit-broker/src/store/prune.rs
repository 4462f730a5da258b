//! Deletion of expired rows.

use agentwrit_verify::UnixTime;

use super::StoreError;

/// Largest number of rows of a table that one call deletes, so that other jobs wait briefly.
pub(super) const LIMIT: u64 = 500;

/// Numbers of deleted rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Spent nonces that would have expired.
    pub nonces: u64,
    /// Launch tokens that expired, used or not.
    pub launch_tokens: u64,
    /// Agents whose latest token expired.
    pub agents: u64,
    /// Tokens that expired.
    pub tokens: u64,
    /// Revocations that no longer affect a token.
    pub revocations: u64,
}

impl Pruned {
    /// Returns true if more rows may be deletable.
    #[must_use]
    pub fn reached_limit(&self) -> bool {
        [self.nonces, self.launch_tokens, self.agents, self.tokens, self.revocations].contains(&LIMIT)
    }
}

/// Deletion of expired rows.
pub trait DeleteExpired {
    /// Deletes rows that expired by `until`, which must have passed for certain, and nonces that expired by `nonces_until`.
    /// To be repeated while [`Pruned::reached_limit`]. The audit trail is not pruned.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn prune(&mut self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError>;
}
