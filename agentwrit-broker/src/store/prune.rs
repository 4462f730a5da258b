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

/// The tokens of a session stay until all of them have expired: whoever knows one of them can revoke the others by it.
const DELETE_TOKENS: &str = "DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens AS old WHERE expires_at <= ?1 \
     AND NOT EXISTS (SELECT 1 FROM tokens WHERE sid = old.sid AND sid <> jti AND expires_at > ?1) \
     ORDER BY expires_at LIMIT ?2)";

impl Tx<'_> {
    /// Deletes some of what has expired by `until`, which must be past for certain, and of the nonces that have by `nonces_until`: call it again while
    /// [`Pruned::reached_limit`]. The trail stays whole.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn prune(&mut self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        self.expire_nonces_until(nonces_until)?;
        let mut delete_until = |until: UnixTime, sql: &str| -> Result<u64, StoreError> {
            Ok(self.execute(sql, (micros(until), LIMIT.cast_signed()))? as u64)
        };
        let nonces = delete_until(nonces_until, delete_expired!("spent_nonces", "nonce"))?;
        let mut delete = |sql: &str| delete_until(until, sql);
        Ok(Pruned {
            nonces,
            launch_tokens: delete(delete_expired!("launch_tokens", "seq"))?,
            agents: delete(delete_expired!("agents", "id"))?,
            tokens: delete(DELETE_TOKENS)?,
            revocations: delete(delete_expired!("revocations", "cursor"))?,
        })
    }
}
