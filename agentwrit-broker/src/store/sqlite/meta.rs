//! Recorded times, and used nonces.

use agentwrit_verify::UnixTime;
use rusqlite::params;

use super::{
    codec::{optional_time, time},
    transaction::Transaction,
};
use crate::{
    clock::RecordedTime,
    store::{
        StoreError,
        codec::micros,
        meta::{ReadMeta, WriteMeta},
    },
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

impl WriteMeta for Transaction<'_> {
    fn record_certain_time(&mut self, certain: UnixTime) -> Result<(), StoreError> {
        self.execute("UPDATE meta SET certain_time = ?1", [micros(certain)]).map(|_| ())
    }

    fn spend_nonce(&mut self, nonce: &[u8; 32], expires_at: UnixTime) -> Result<bool, StoreError> {
        let sql = "INSERT INTO spent_nonces (nonce, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        Ok(self.execute(sql, params![nonce, micros(expires_at)])? == 1)
    }

    fn expire_nonces_until(&mut self, until: UnixTime) -> Result<(), StoreError> {
        let sql = "UPDATE meta SET nonces_forgotten_until = max(nonces_forgotten_until, ?1)";
        self.execute(sql, [micros(until)]).map(|_| ())
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        self.execute("UPDATE meta SET probes = probes + 1", []).map(|_| ())
    }
}
