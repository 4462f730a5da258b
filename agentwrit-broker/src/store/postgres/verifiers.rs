//! Verifiers and their instances, in transactions of the head row and in snapshots. Reports are stored by
//! [`reports`](super::reports).

use agentwrit_verify::{
    FeedCursor, PublicKey, UnixTime,
    report::{InstanceId, KeySetDigest, Report, ReportedBound, VerifierName},
};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_parsed, optional_time, parsed, time, unreadable, unsigned},
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{Enrolment, FormerBound, InstanceState},
    store::{
        StoreError,
        codec::{micros, signed},
        verifiers::ReadVerifiers,
    },
};

pub(super) const ENROLMENTS: &str = "SELECT name, public_key, max_bound, added_at, removed_at, former_bound, former_ended_at, \
     instances_since, may_have_unbounded FROM verifiers ORDER BY added_at";
pub(super) const INSTANCES: &str = "SELECT verifier, instance, seq, epoch, cursor, bound, kids, drained, leaving, heard_at, \
     signed, is_ahead, public_key FROM verifier_instances ORDER BY verifier, instance";
/// Removes the oldest evidence of confirmations beyond so many bytes in all.
pub(super) const PRUNE_EVIDENCE: &str = "DELETE FROM confirmation_evidence WHERE (epoch, cursor) IN (SELECT epoch, cursor FROM \
     (SELECT epoch, cursor, sum(length(document)) OVER (ORDER BY decided_at DESC, epoch, cursor) AS total \
     FROM confirmation_evidence) AS kept WHERE total > $1)";
/// Tells every broker to read verifiers and instances anew.
const ENROLMENTS_CHANGED: &str = "UPDATE report_log SET enrolments = enrolments + 1 WHERE one = 1";
/// Makes every broker count the reports before as lost. No verifier was enrolled later by the times of this database.
const REPORTS_LOST: &str = "UPDATE report_log SET enrolments = enrolments + 1, is_complete = false, \
     kept_since = greatest($1, (SELECT max(instances_since) + 1 FROM verifiers)) WHERE one = 1";
/// Marks the verifiers that were permitted instances without a bound.
const MARK_UNBOUNDED: &str = "UPDATE verifiers SET may_have_unbounded = true \
     WHERE max_bound IS NULL OR (former_ended_at IS NOT NULL AND former_bound IS NULL)";
/// Instances with a bound that are silent for longer accept no token, and no report of them counts any more.
const DELETE_SILENT: &str = "DELETE FROM verifier_instances WHERE (bound IS NOT NULL OR leaving) AND heard_at <= $1";

impl ReadVerifiers for Transaction<'_> {
    fn enrolments(&self) -> Result<Vec<Enrolment>, StoreError> {
        self.list(ENROLMENTS, values![], enrolment)
    }

    fn verifier_instances(&self) -> Result<Vec<InstanceState>, StoreError> {
        self.list(INSTANCES, values![], |row| instance(row, 0))
    }

    fn confirmation_evidence(&self, cursor: &FeedCursor) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT document FROM confirmation_evidence WHERE epoch = $1 AND cursor = $2";
        self.find(sql, values![cursor.epoch(), signed(cursor.position())], |row| get(row, 0))
    }

    fn confirmation_evidence_size(&self) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(length(document)), 0) FROM confirmation_evidence";
        self.single(sql, values![], |row| unsigned(row, 0))
    }
}

impl Transaction<'_> {
    pub(super) fn delete_one_instance(&self, name: &VerifierName, id: InstanceId) -> Result<(), StoreError> {
        let sql = "DELETE FROM verifier_instances WHERE verifier = $1 AND instance = $2";
        self.execute(sql, values![name.as_str(), id.to_string()]).map(|_| ())
    }

    /// The lock of the row orders this with the reports that are being stored.
    pub(super) fn announce_enrolments(&self) -> Result<(), StoreError> {
        self.execute(ENROLMENTS_CHANGED, values![]).map(|_| ())
    }

    pub(super) fn delete_all_instances(&self, name: &VerifierName) -> Result<(), StoreError> {
        self.execute("DELETE FROM verifier_instances WHERE verifier = $1", values![name.as_str()]).map(|_| ())
    }

    pub(super) fn reports_were_lost(&self, at: UnixTime) -> Result<(), StoreError> {
        self.execute(REPORTS_LOST, values![micros(at)])?;
        self.execute(MARK_UNBOUNDED, values![]).map(|_| ())
    }

    pub(super) fn delete_silent_instances(&self, until: UnixTime) -> Result<(), StoreError> {
        let until = until.saturating_sub(Report::LEASE.saturating_mul(2));
        self.execute(DELETE_SILENT, values![micros(until)]).map(|_| ())
    }
}

pub(super) fn enrolment(row: &Row) -> Result<Enrolment, StoreError> {
    Ok(Enrolment {
        name: parsed(row, 0, VerifierName::parse)?,
        public_key: PublicKey::from_bytes(&bytes(row, 1)?).map_err(|error| unreadable(1, &error))?,
        max_bound: optional_unsigned(row, 2)?,
        added_at: time(row, 3)?,
        removed_at: optional_time(row, 4)?,
        former: former_bound(row)?,
        instances_since: time(row, 7)?,
        may_have_unbounded: get(row, 8)?,
    })
}

fn former_bound(row: &Row) -> Result<Option<FormerBound>, StoreError> {
    let Some(ended_at) = optional_time(row, 6)? else { return Ok(None) };
    Ok(Some(FormerBound { max_bound: optional_unsigned(row, 5)?, ended_at }))
}

/// Reads the columns of [`INSTANCES`], of which the first is `at`.
pub(super) fn instance(row: &Row, at: usize) -> Result<InstanceState, StoreError> {
    let position = unsigned(row, at + 4)?;
    Ok(InstanceState {
        verifier: parsed(row, at, VerifierName::parse)?,
        instance: parsed(row, at + 1, InstanceId::parse)?,
        sequence: unsigned(row, at + 2)?,
        applied: parsed(row, at + 3, |epoch| FeedCursor::new(epoch, position))?,
        bound: optional_unsigned(row, at + 5)?.map_or(ReportedBound::Unbounded, ReportedBound::Seconds),
        key_set: optional_parsed(row, at + 6, KeySetDigest::parse)?,
        drained: optional_unsigned(row, at + 7)?,
        leaving: get(row, at + 8)?,
        heard_at: time(row, at + 9)?,
        signed: get::<String>(row, at + 10)?.into(),
        is_ahead: get(row, at + 11)?,
        public_key: bytes(row, at + 12)?,
    })
}

fn optional_unsigned(row: &Row, column: usize) -> Result<Option<u64>, StoreError> {
    get::<Option<i64>>(row, column)?.map(|_| unsigned(row, column)).transpose()
}
