//! The head row: the number, hash, cursor and time that the next commit goes on from.

use agentwrit_verify::audit::{ChainHead, EventHash};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, unsigned},
    value::Value,
};
use crate::{
    audit::Timestamp,
    store::{StoreError, codec::signed, follow::LogEnd, trail::TrailHead},
};

pub(super) use crate::store::head::Head;

/// Columns of the head row.
pub(super) const SELECT: &str = "SELECT generation, epoch, audit_seq, audit_hash, audit_at, cursor, last_name, \
     last_launch, certain_time, nonces_forgotten_until, probes, last_time, housekept_at, keys_cursor FROM head WHERE one = 1";
/// Locks the row until the end of the transaction.
pub(super) const LOCK: &str = "SELECT generation, epoch, audit_seq, audit_hash, audit_at, cursor, last_name, \
     last_launch, certain_time, nonces_forgotten_until, probes, last_time, housekept_at, keys_cursor FROM head WHERE one = 1 FOR UPDATE";
/// End of the revocation log, the time of the latest job, and the last revocation that there is.
pub(super) const LOG_END: &str = "SELECT epoch, cursor, last_time, (SELECT coalesce(max(cursor), 0) FROM revocations) \
     FROM head WHERE one = 1";
/// Time of the latest job.
pub(super) const LAST_TIME: &str = "SELECT last_time FROM head WHERE one = 1";
/// The server's time, in microseconds. In a statement of its own: beside the lock it would be read before the wait.
pub(super) const TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
/// Fails if the row was changed since it was read: an update that finds no row would not be an error.
pub(super) const UPDATE: &str = "UPDATE head SET generation = CASE WHEN generation = $1 THEN generation + 1 ELSE -1 END, \
     epoch = $2, audit_seq = $3, audit_hash = $4, audit_at = $5, cursor = $6, last_name = $7, last_launch = $8, \
     certain_time = $9, nonces_forgotten_until = $10, probes = $11, last_time = $12, housekept_at = $13, \
     keys_cursor = $14 WHERE one = 1";

impl Head {
    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        let chain = ChainHead { sequence: unsigned(row, 2)?, hash: EventHash::from_bytes(bytes(row, 3)?) };
        Ok(Self {
            generation: get(row, 0)?,
            epoch: get(row, 1)?,
            trail: TrailHead { chain, at: Timestamp(get(row, 4)?) },
            cursor: get(row, 5)?,
            last_name: get(row, 6)?,
            last_launch: get(row, 7)?,
            certain_time: get(row, 8)?,
            nonces_forgotten_until: get(row, 9)?,
            probes: get(row, 10)?,
            last_time: get(row, 11)?,
            housekept_at: get(row, 12)?,
            keys_cursor: get(row, 13)?,
        })
    }

    /// Parameters of [`UPDATE`].
    pub(super) fn values(&self) -> [Value<'_>; 14] {
        let Self { generation, epoch, trail, cursor, last_name, last_launch, certain_time, .. } = self;
        [
            (*generation).into(),
            epoch.as_str().into(),
            signed(trail.chain.sequence).into(),
            trail.chain.hash.as_bytes().into(),
            trail.at.0.into(),
            (*cursor).into(),
            (*last_name).into(),
            (*last_launch).into(),
            (*certain_time).into(),
            self.nonces_forgotten_until.into(),
            self.probes.into(),
            self.last_time.into(),
            self.housekept_at.into(),
            self.keys_cursor.into(),
        ]
    }

    /// Returns the end of the revocation log.
    pub(super) fn log_end(&self) -> LogEnd {
        LogEnd { epoch: self.epoch.as_str().into(), cursor: u64::try_from(self.cursor).unwrap_or(0) }
    }
}
