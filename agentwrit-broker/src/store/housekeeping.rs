//! Forgets what can no longer matter.

use agentwrit_verify::UnixTime;

use super::{StoreError, Tx, codec::micros};

/// How many rows of a table one call deletes at most, so that nobody waits long behind it.
const LIMIT: u64 = 500;

/// How many rows were deleted.
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
    /// Revocations that affect no live token any more.
    pub revocations: u64,
}

impl Pruned {
    /// Whether there may be more to delete at once.
    #[must_use]
    pub fn reached_limit(&self) -> bool {
        [self.nonces, self.launch_tokens, self.agents, self.tokens, self.revocations].contains(&LIMIT)
    }
}

macro_rules! delete_expired {
    ($table:literal, $key:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"
        )
    };
}

impl Tx<'_> {
    /// Deletes some of what has expired by `now`: call it again while [`Pruned::reached_limit`]. The trail stays whole.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn prune(&mut self, now: UnixTime) -> Result<Pruned, StoreError> {
        let mut delete = |sql: &str| -> Result<u64, StoreError> {
            Ok(self.execute(sql, (micros(now), LIMIT.cast_signed()))? as u64)
        };
        Ok(Pruned {
            nonces: delete(delete_expired!("spent_nonces", "nonce"))?,
            launch_tokens: delete(delete_expired!("launch_tokens", "seq"))?,
            agents: delete(delete_expired!("agents", "id"))?,
            tokens: delete(delete_expired!("tokens", "jti"))?,
            revocations: delete(delete_expired!("revocations", "cursor"))?,
        })
    }
}
