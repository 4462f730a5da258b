//! Verifiers and their instances.

use agentwrit_verify::{
    FeedCursor, PublicKey,
    report::{InstanceId, KeySetDigest, ReportedBound, VerifierName},
};
use rusqlite::Row;

use super::{
    codec::{optional_parsed, parsed, time, unreadable, unsigned},
    transaction::Transaction,
};
use crate::{
    domain::{Enrolment, InstanceState},
    store::{StoreError, verifiers::ReadVerifiers},
};

impl ReadVerifiers for Transaction<'_> {
    fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError> {
        self.list("SELECT name, public_key, max_bound, added_at FROM verifiers ORDER BY added_at", [], enrolment)
    }

    fn verifier_instances(&self) -> Result<Vec<InstanceState>, StoreError> {
        let sql = "SELECT verifier, instance, seq, epoch, cursor, bound, kids, drained, leaving, heard_at, digest, is_ahead \
                   FROM verifier_instances ORDER BY verifier, instance";
        self.list(sql, [], instance)
    }
}

impl Transaction<'_> {
    pub(super) fn delete_one_instance(&self, name: &VerifierName, id: InstanceId) -> Result<(), StoreError> {
        let sql = "DELETE FROM verifier_instances WHERE verifier = ?1 AND instance = ?2";
        self.execute(sql, (name.as_str(), id.to_string())).map(|_| ())
    }

    pub(super) fn delete_all_instances(&self, name: &VerifierName) -> Result<(), StoreError> {
        self.execute("DELETE FROM verifier_instances WHERE verifier = ?1", [name.as_str()]).map(|_| ())
    }
}

fn enrolment(row: &Row<'_>) -> rusqlite::Result<Enrolment> {
    Ok(Enrolment {
        name: parsed(row, 0, VerifierName::parse)?,
        public_key: PublicKey::from_bytes(&row.get(1)?).map_err(|error| unreadable(1, error))?,
        max_bound: optional_unsigned(row, 2)?,
        added_at: time(row, 3)?,
    })
}

fn instance(row: &Row<'_>) -> rusqlite::Result<InstanceState> {
    let position = unsigned(row, 4)?;
    Ok(InstanceState {
        verifier: parsed(row, 0, VerifierName::parse)?,
        instance: parsed(row, 1, InstanceId::parse)?,
        sequence: unsigned(row, 2)?,
        applied: parsed(row, 3, |epoch| FeedCursor::new(epoch, position))?,
        bound: optional_unsigned(row, 5)?.map_or(ReportedBound::Unbounded, ReportedBound::Seconds),
        key_set: optional_parsed(row, 6, KeySetDigest::parse)?,
        drained: optional_unsigned(row, 7)?,
        leaving: row.get(8)?,
        heard_at: time(row, 9)?,
        digest: row.get(10)?,
        is_ahead: row.get(11)?,
    })
}

fn optional_unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)?.map(|_| unsigned(row, column)).transpose()
}
