//! The log of revocations.

use agentwrit_verify::{Subject, UnixTime};
use rusqlite::{Row, params};

use super::{
    codec::{optional_time, parsed, time, unreadable, unsigned},
    transaction::Transaction,
};
use crate::{
    domain::Revocation,
    store::{
        Page, StoreError,
        codec::{micros, signed},
        facts::Facts,
        revocations::{FeedRow, ReadRevocations, RevocationRow, level},
    },
};

impl ReadRevocations for Transaction<'_> {
    fn epoch(&self) -> Result<String, StoreError> {
        self.single("SELECT epoch FROM meta", [], |row| row.get(0))
    }

    fn revocations_after(&self, cursor: u64, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError> {
        self.list(
            "SELECT cursor, level, target, revoked_at, expires_at, revoked_by, reason, listed FROM revocations \
             WHERE cursor > ?1 AND expires_at > ?2 ORDER BY cursor",
            params![signed(cursor), micros(now)],
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
            "SELECT cursor, level, target, revoked_at, expires_at FROM revocations NOT INDEXED \
             WHERE cursor > ?1 AND expires_at > ?2 ORDER BY cursor LIMIT ?3",
            params![signed(cursor), micros(now), signed(limit)],
            |row| {
                visit(FeedRow {
                    cursor: unsigned(row, 0)?,
                    level: level(row.get_ref(1)?.as_str()?).ok_or_else(|| unreadable(1, "unknown level"))?,
                    target: row.get_ref(2)?.as_str()?,
                    revoked_at: time(row, 3)?,
                    expires_at: time(row, 4)?,
                });
                Ok(())
            },
        )
    }

    fn count_live_revocations(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.single("SELECT count(*) FROM revocations WHERE expires_at > ?1", [micros(now)], |row| unsigned(row, 0))
    }

    fn listed_revocations(&self, now: UnixTime, page: &Page) -> Result<(Vec<RevocationRow>, u64), StoreError> {
        let total =
            self.single("SELECT count(*) FROM revocations WHERE listed AND expires_at > ?1", [micros(now)], |row| {
                unsigned(row, 0)
            })?;
        let rows = self.list(
            "SELECT cursor, level, target, revoked_at, expires_at, revoked_by, reason, listed FROM revocations \
             WHERE listed AND cursor > ?1 AND expires_at > ?2 ORDER BY cursor LIMIT ?3 OFFSET ?4",
            params![signed(page.after), micros(now), signed(page.limit), signed(page.offset)],
            revocation,
        )?;
        Ok((rows, total))
    }

    fn latest_cursor(&self) -> Result<u64, StoreError> {
        let sql = "SELECT max(keys_cursor, ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0)) FROM meta";
        self.single(sql, [], |row| unsigned(row, 0))
    }
}

impl Transaction<'_> {
    pub(super) fn fetch_mark(&self, target: &str, facts: &mut Facts) -> Result<(), StoreError> {
        // A task may have the name of a subject: a mark on one then counts for the other, which does no harm.
        let mark = self.single(
            "SELECT max(revoked_at) FROM revocations INDEXED BY revocations_marks \
             WHERE target IN (?1, '') AND level IN ('agent', 'task', 'chain', 'issuer')",
            [target],
            |row| optional_time(row, 0),
        )?;
        facts.marks.learn(target.to_owned(), mark);
        Ok(())
    }

    pub(super) fn delete_marks_after(&self, at: UnixTime) -> Result<u64, StoreError> {
        let sql = "DELETE FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer') AND revoked_at > ?1";
        self.execute(sql, [micros(at)])
    }
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<RevocationRow> {
    let revocation = Revocation {
        level: level(row.get_ref(1)?.as_str()?).ok_or_else(|| unreadable(1, "unknown level"))?,
        target: row.get(2)?,
        revoked_at: time(row, 3)?,
        expires_at: time(row, 4)?,
        revoked_by: parsed(row, 5, Subject::parse)?,
        reason: row.get(6)?,
        listed: row.get(7)?,
    };
    Ok(RevocationRow { cursor: unsigned(row, 0)?, revocation })
}
