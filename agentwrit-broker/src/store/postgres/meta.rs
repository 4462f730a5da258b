//! Recorded times, and used nonces.

use agentwrit_verify::UnixTime;

use super::{
    codec::{bytes, optional_time},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    clock::RecordedTime,
    store::{StoreError, codec::from_micros, meta::ReadMeta, wants::Wants},
};

impl ReadMeta for Transaction<'_> {
    fn recorded_time(&self) -> Result<RecordedTime, StoreError> {
        let certain = self.head().certain_time.map(from_micros);
        let event = "SELECT max(at) FROM (SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1) AS last";
        let event = self.single(event, values![], |row| optional_time(row, 0))?;
        let mark = "SELECT max(revoked_at) FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer')";
        let mark = self.single(mark, values![], |row| optional_time(row, 0))?;
        Ok(RecordedTime { certain, newest: event.max(mark).unwrap_or_default() })
    }

    fn nonces_forgotten_until(&self) -> Result<UnixTime, StoreError> {
        Ok(from_micros(self.head().nonces_forgotten_until))
    }
}

/// Nonces that were used.
pub(super) fn query(wants: &Wants) -> Option<Query<'_>> {
    Query::of(
        "SELECT nonce FROM spent_nonces WHERE nonce = ANY($1)",
        wants.nonces.iter().map(|(nonce, _)| nonce),
        |row, facts| {
            facts.nonces.learn(bytes(row, 0)?, Some(()));
            Ok(())
        },
    )
}
