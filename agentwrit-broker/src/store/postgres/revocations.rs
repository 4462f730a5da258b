//! The log of revocations.

use agentwrit_verify::{Subject, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{get, optional_time, parsed, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::Revocation,
    store::{
        Page, StoreError,
        codec::{micros, signed},
        revocations::{FeedRow, ReadRevocations, RevocationRow, level},
        wants::Wants,
    },
};

/// Revocations after a cursor, as the feed sends them.
pub(super) const AFTER: &str =
    "SELECT cursor, level, target, revoked_at, expires_at FROM revocations WHERE cursor > $1 ORDER BY cursor";
/// Revocations up to a cursor, as the feed sends them.
pub(super) const UP_TO: &str =
    "SELECT cursor, level, target, revoked_at, expires_at FROM revocations WHERE cursor <= $1 ORDER BY cursor";

impl ReadRevocations for Transaction<'_> {
    fn epoch(&self) -> Result<String, StoreError> {
        Ok(self.head().epoch.clone())
    }

    fn revocations_after(&self, cursor: u64, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError> {
        self.list(
            "SELECT cursor, level, target, revoked_at, expires_at, revoked_by, reason, listed FROM revocations \
             WHERE cursor > $1 AND expires_at > $2 ORDER BY cursor",
            values![signed(cursor), micros(now)],
            revocation,
        )
    }

    fn visit_revocations(
        &self,
        cursor: u64,
        now: UnixTime,
        limit: u64,
        visit: &mut dyn FnMut(FeedRow<'_>),
    ) -> Result<(), StoreError> {
        self.each(
            "SELECT cursor, level, target, revoked_at, expires_at FROM revocations \
             WHERE cursor > $1 AND expires_at > $2 ORDER BY cursor LIMIT $3",
            values![signed(cursor), micros(now), signed(limit)],
            |row| {
                visit(feed_row(row)?);
                Ok(())
            },
        )
    }

    fn count_live_revocations(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.single("SELECT count(*) FROM revocations WHERE expires_at > $1", values![micros(now)], |row| {
            unsigned(row, 0)
        })
    }

    fn listed_revocations(&self, now: UnixTime, page: &Page) -> Result<(Vec<RevocationRow>, u64), StoreError> {
        let total = self.single(
            "SELECT count(*) FROM revocations WHERE listed AND expires_at > $1",
            values![micros(now)],
            |row| unsigned(row, 0),
        )?;
        let rows = self.list(
            "SELECT cursor, level, target, revoked_at, expires_at, revoked_by, reason, listed FROM revocations \
             WHERE listed AND cursor > $1 AND expires_at > $2 ORDER BY cursor LIMIT $3 OFFSET $4",
            values![signed(page.after), micros(now), signed(page.limit), signed(page.offset)],
            revocation,
        )?;
        Ok((rows, total))
    }

    fn latest_cursor(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.head().cursor).unwrap_or(0))
    }
}

/// Latest not-before marks. A task may have the name of a subject: a mark on one then counts for the other, which does no harm.
pub(super) fn query(wants: &Wants) -> Option<Query<'_>> {
    Query::of(
        "SELECT wanted.target, max(revoked_at) FROM unnest($1::text[]) AS wanted (target) JOIN revocations \
         ON revocations.target IN (wanted.target, '') AND level IN ('agent', 'task', 'chain', 'issuer') \
         GROUP BY wanted.target",
        &wants.marks,
        |row, facts| {
            facts.marks.learn(get(row, 0)?, optional_time(row, 1)?);
            Ok(())
        },
    )
}

impl Transaction<'_> {
    pub(super) fn delete_marks_after(&self, at: UnixTime) -> Result<u64, StoreError> {
        let sql = "DELETE FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer') AND revoked_at > $1";
        self.execute(sql, values![micros(at)])
    }
}

/// Reads a row of [`AFTER`] or [`UP_TO`].
pub(super) fn feed_row(row: &Row) -> Result<FeedRow<'_>, StoreError> {
    Ok(FeedRow {
        cursor: unsigned(row, 0)?,
        level: level(get(row, 1)?).ok_or_else(|| StoreError::corrupt("a revocation has an unknown level"))?,
        target: get(row, 2)?,
        revoked_at: time(row, 3)?,
        expires_at: time(row, 4)?,
    })
}

fn revocation(row: &Row) -> Result<RevocationRow, StoreError> {
    let revocation = Revocation {
        level: level(get(row, 1)?).ok_or_else(|| StoreError::corrupt("a revocation has an unknown level"))?,
        target: get(row, 2)?,
        revoked_at: time(row, 3)?,
        expires_at: time(row, 4)?,
        revoked_by: parsed(row, 5, Subject::parse)?,
        reason: get(row, 6)?,
        listed: get(row, 7)?,
    };
    Ok(RevocationRow { cursor: unsigned(row, 0)?, revocation })
}
