//! Recorded times, and used nonces.

use agentwrit_verify::UnixTime;
use rusqlite::params;

use super::{
    codec::{optional_time, time},
    transaction::Transaction,
};
use crate::{
    clock::RecordedTime,
    store::{StoreError, audit_log::ReadAudit, codec::micros, facts::Facts, head::Head, meta::ReadMeta},
};

impl ReadMeta for Transaction<'_> {
    fn recorded_time(&self) -> Result<RecordedTime, StoreError> {
        let certain = self.single("SELECT certain_time FROM meta", [], |row| optional_time(row, 0))?;
        let event = "SELECT max(at) FROM (SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1)";
        let event = self.single(event, [], |row| optional_time(row, 0))?;
        let mark = "SELECT max(revoked_at) FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer')";
        let mark = self.single(mark, [], |row| optional_time(row, 0))?;
        Ok(RecordedTime { certain, newest: event.max(mark).unwrap_or_default() })
    }

    fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError> {
        self.single("SELECT nonces_forgotten_until FROM meta", [], |row| time(row, 0))
    }
}

impl Transaction<'_> {
    pub(super) fn fetch_nonce(
        &self,
        nonce: &[u8; 32],
        expires_at: UnixTime,
        facts: &mut Facts,
    ) -> Result<(), StoreError> {
        let sql = "SELECT 1 FROM spent_nonces WHERE expires_at = ?1 AND nonce = ?2";
        if self.find(sql, params![micros(expires_at), nonce], |_| Ok(()))?.is_some() {
            facts.nonces.learn(*nonce, Some(()));
        }
        Ok(())
    }

    /// Reads the state that the next commit goes on from.
    pub(super) fn head(&self) -> Result<Head, StoreError> {
        let number = |sql: &str| self.single(sql, [], |row| row.get(0));
        let last_of = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ";
        let meta = "SELECT epoch, certain_time, nonces_forgotten_until, probes, keys_cursor FROM meta";
        let head = self.single(meta, [], |row| {
            Ok(Head {
                epoch: row.get(0)?,
                certain_time: row.get(1)?,
                nonces_forgotten_until: row.get(2)?,
                probes: row.get(3)?,
                keys_cursor: row.get(4)?,
                ..Head::default()
            })
        })?;
        Ok(Head {
            trail: self.trail_head()?,
            cursor: head.keys_cursor.max(number(&format!("{last_of} 'revocations'"))?),
            last_launch: number(&format!("{last_of} 'launch_tokens'"))?,
            last_name: number("SELECT coalesce(max(id), 0) FROM names")?,
            ..head
        })
    }

    /// Writes what changed in the row of recorded times.
    pub(super) fn write_meta(&self, before: &Head, after: &Head) -> Result<(), StoreError> {
        let meta = |head: &Head| (head.certain_time, head.nonces_forgotten_until, head.probes, head.keys_cursor);
        if before.epoch != after.epoch || meta(before) != meta(after) {
            let sql = "UPDATE meta SET epoch = ?1, certain_time = ?2, nonces_forgotten_until = ?3, probes = ?4, \
                       keys_cursor = ?5";
            let Head { epoch, certain_time, nonces_forgotten_until, probes, keys_cursor, .. } = after;
            self.execute(sql, params![epoch, certain_time, nonces_forgotten_until, probes, keys_cursor])?;
        }
        Ok(())
    }
}
