//! Deletion of expired rows.

use agentwrit_verify::UnixTime;

use super::transaction::Transaction;
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
            " WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"
        )
    };
}

/// The primary key begins with the expiry.
const DELETE_NONCES: &str = "DELETE FROM spent_nonces WHERE (expires_at, nonce) IN \
     (SELECT expires_at, nonce FROM spent_nonces WHERE expires_at <= ?1 ORDER BY expires_at, nonce LIMIT ?2)";

/// The tokens of a session stay until all of them have expired, because each of them identifies the session in a
/// revocation.
const DELETE_TOKENS: &str = "DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens AS old WHERE expires_at <= ?1 \
     AND NOT EXISTS (SELECT 1 FROM tokens WHERE sid = old.sid AND sid <> jti AND expires_at > ?1) \
     ORDER BY expires_at LIMIT ?2) RETURNING subject";
/// An agent expires with its latest token.
const DELETE_AGENT: &str = "DELETE FROM agents WHERE id = ?1 AND expires_at <= ?2";

impl Transaction<'_> {
    pub(super) fn prune(&self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        let delete = |until: UnixTime, sql: &str| self.execute(sql, (micros(until), LIMIT.cast_signed()));
        let nonces = delete(nonces_until, DELETE_NONCES)?;
        let launch_tokens = delete(until, delete_expired!("launch_tokens", "seq"))?;
        let assertions = delete(until, delete_expired!("used_assertions", "assertion"))?;
        let revocations = delete(until, delete_expired!("revocations", "cursor"))?;
        let (agents, tokens) = self.prune_tokens(until)?;
        Ok(Pruned { nonces, launch_tokens, agents, tokens, assertions, revocations })
    }

    /// Returns the number of agents and of tokens that were deleted.
    fn prune_tokens(&self, until: UnixTime) -> Result<(u64, u64), StoreError> {
        let parameters = (micros(until), LIMIT.cast_signed());
        let mut subjects: Vec<i64> = self.list(DELETE_TOKENS, parameters, |row| row.get(0))?;
        let tokens = subjects.len() as u64;
        subjects.sort_unstable();
        subjects.dedup();
        let mut agents = 0;
        for subject in subjects {
            agents += self.execute(DELETE_AGENT, (subject, micros(until)))?;
        }
        Ok((agents, tokens))
    }
}
