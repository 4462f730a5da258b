//! Deletion of expired rows.

use agentwrit_verify::UnixTime;

use super::{codec::get, transaction::Transaction, value::values};
use crate::store::{
    StoreError,
    codec::micros,
    prune::{LIMIT, Pruned},
};

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
            " WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)"
        )
    };
}

/// The tokens of a session stay until all of them have expired, because each of them identifies the session in a
/// revocation.
const DELETE_TOKENS: &str = "DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens AS old WHERE expires_at <= $1 \
     AND NOT EXISTS (SELECT 1 FROM tokens WHERE sid = old.sid AND sid <> jti AND expires_at > $1) \
     ORDER BY expires_at LIMIT $2) RETURNING subject";
/// An agent expires with its latest token.
const DELETE_AGENTS: &str = "DELETE FROM agents WHERE id = ANY($1) AND expires_at <= $2";

/// Also for a role that has no right to delete revocations.
const DELETE_REVOCATIONS: &str = "SELECT prune_revocations($1, $2)";

impl Transaction<'_> {
    pub(super) fn prune(&self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        let delete_until = |until: UnixTime, sql: &str| -> Result<u64, StoreError> {
            self.execute(sql, values![micros(until), LIMIT.cast_signed()])
        };
        let nonces = delete_until(nonces_until, delete_expired!("spent_nonces", "nonce"))?;
        let delete = |sql: &str| delete_until(until, sql);
        let launch_tokens = delete(delete_expired!("launch_tokens", "seq"))?;
        let assertions = delete(delete_expired!("used_assertions", "assertion"))?;
        let revocations = delete(DELETE_REVOCATIONS)?;
        self.delete_silent_instances(until)?;
        let (agents, tokens) = self.prune_tokens(until)?;
        Ok(Pruned { nonces, launch_tokens, agents, tokens, assertions, revocations })
    }

    /// Returns the number of agents and of tokens that were deleted.
    fn prune_tokens(&self, until: UnixTime) -> Result<(u64, u64), StoreError> {
        let parameters = values![micros(until), LIMIT.cast_signed()];
        let subjects: Vec<i64> = self.list(DELETE_TOKENS, parameters, |row| get(row, 0))?;
        let tokens = subjects.len() as u64;
        Ok((self.execute(DELETE_AGENTS, values![subjects, micros(until)])?, tokens))
    }
}
