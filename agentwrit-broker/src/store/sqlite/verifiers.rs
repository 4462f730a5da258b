//! Verifiers and their instances.

use agentwrit_verify::{
    FeedCursor, PublicKey,
    report::{InstanceId, KeySetDigest, ReportedBound, VerifierName},
};
use rusqlite::Row;

use super::{
    codec::{optional_parsed, optional_time, parsed, time, unreadable, unsigned},
    transaction::Transaction,
};
use crate::{
    domain::{Enrolment, FormerBound, InstanceState},
    store::{StoreError, codec::signed, verifiers::ReadVerifiers},
};

/// Marks the verifiers that were permitted instances without a bound.
const REPORTS_LOST: &str = "UPDATE verifiers SET may_have_unbounded = 1 \
     WHERE max_bound IS NULL OR (former_ended_at IS NOT NULL AND former_bound IS NULL)";

impl ReadVerifiers for Transaction<'_> {
    fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError> {
        let sql = "SELECT name, public_key, max_bound, added_at, removed_at, former_bound, former_ended_at, instances_since, \
                   may_have_unbounded FROM verifiers ORDER BY added_at";
        self.list(sql, [], enrolment)
    }

    fn verifier_instances(&self) -> Result<Vec<InstanceState>, StoreError> {
        let sql = "SELECT verifier, instance, seq, epoch, cursor, bound, kids, drained, leaving, heard_at, signed, is_ahead, public_key \
                   FROM verifier_instances ORDER BY verifier, instance";
        self.list(sql, [], instance)
    }

    fn confirmation_evidence(&self, cursor: &FeedCursor) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT document FROM confirmation_evidence WHERE epoch = ?1 AND cursor = ?2";
        self.find(sql, (cursor.epoch(), signed(cursor.position())), |row| row.get(0))
    }

    fn confirmation_evidence_size(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(length(document)), 0) FROM confirmation_evidence";
        self.single(sql, [], |row| unsigned(row, 0))
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

    pub(super) fn note_lost_reports(&self) -> Result<(), StoreError> {
        self.execute(REPORTS_LOST, []).map(|_| ())
    }
}

fn enrolment(row: &Row<'_>) -> rusqlite::Result<Enrolment> {
    Ok(Enrolment {
        name: parsed(row, 0, VerifierName::parse)?,
        public_key: PublicKey::from_bytes(&row.get(1)?).map_err(|error| unreadable(1, error))?,
        max_bound: optional_unsigned(row, 2)?,
        added_at: time(row, 3)?,
        removed_at: optional_time(row, 4)?,
        former: former_bound(row)?,
        instances_since: time(row, 7)?,
        may_have_unbounded: row.get(8)?,
    })
}

fn former_bound(row: &Row<'_>) -> rusqlite::Result<Option<FormerBound>> {
    let Some(ended_at) = optional_time(row, 6)? else { return Ok(None) };
    Ok(Some(FormerBound { max_bound: optional_unsigned(row, 5)?, ended_at }))
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
        signed: row.get::<_, String>(10)?.into(),
        is_ahead: row.get(11)?,
        public_key: row.get(12)?,
    })
}

fn optional_unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)?.map(|_| unsigned(row, column)).transpose()
}
