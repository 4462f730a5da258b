//! The log of revocations.

use agentwrit_verify::{Level, Subject, UnixTime};
use rusqlite::{Row, params};

use super::{
    Page, Reader, StoreError, Tx,
    codec::{micros, optional_time, parsed, signed, time, unreadable, unsigned},
};
use crate::domain::Revocation;

/// A revocation and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRow {
    /// Larger than that of every revocation before it, and never used twice.
    pub cursor: u64,
    /// Revoked object.
    pub revocation: Revocation,
}

/// Revocation as the feed sends it, and its position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedRow<'r> {
    /// See [`RevocationRow::cursor`].
    pub cursor: u64,
    /// The level.
    pub level: Level,
    /// Revoked object.
    pub target: &'r str,
    /// Since when.
    pub revoked_at: UnixTime,
    /// Time until which it can affect a token.
    pub expires_at: UnixTime,
}

impl Reader<'_> {
    /// Returns the identifier of the log. Cursors of another epoch are invalid.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn epoch(&self) -> Result<String, StoreError> {
        self.single("SELECT epoch FROM meta", [], |row| row.get(0))
    }

    /// The revocations that still affect some token, in the order of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn live_revocations(&self, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError> {
        self.revocations_after(0, now)
    }

    /// The revocations after a cursor that still affect some token, in the order of the log.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn revocations_after(&self, cursor: u64, now: UnixTime) -> Result<Vec<RevocationRow>, StoreError> {
        self.list(
            "SELECT cursor, level, target, revoked_at, expires_at, revoked_by, reason, listed FROM revocations \
             WHERE cursor > ?1 AND expires_at > ?2 ORDER BY cursor",
            params![signed(cursor), micros(now)],
            revocation,
        )
    }

    /// Visits the revocations after a cursor that can still affect a token, as the feed sends them, in the order of the log,
    /// `limit` at most.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn visit_revocations(
        &self,
        cursor: u64,
        now: UnixTime,
        limit: u64,
        mut visit: impl FnMut(FeedRow<'_>),
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

    /// Returns the number of revocations that can still affect a token.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn count_live_revocations(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.single("SELECT count(*) FROM revocations WHERE expires_at > ?1", [micros(now)], |row| unsigned(row, 0))
    }

    /// Returns a page of the requested revocations that can still affect a token, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn listed_revocations(&self, now: UnixTime, page: &Page) -> Result<(Vec<RevocationRow>, u64), StoreError> {
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

    /// Returns the latest not-before mark on a subject, task or root delegator, or on all tokens.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn latest_not_before_mark(&self, target: &str) -> Result<Option<UnixTime>, StoreError> {
        // A task may have the name of a subject: a mark on one then counts for the other, which does no harm.
        self.single(
            "SELECT max(revoked_at) FROM revocations INDEXED BY revocations_marks \
             WHERE target IN (?1, '') AND level IN ('agent', 'task', 'chain', 'issuer')",
            [target],
            |row| optional_time(row, 0),
        )
    }

    /// The cursor of the latest revocation ever, 0 before the first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn latest_cursor(&self) -> Result<u64, StoreError> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'revocations'";
        Ok(self.find(sql, [], |row| unsigned(row, 0))?.unwrap_or(0))
    }
}

impl Tx<'_> {
    /// Adds a revocation at the end of the log; its cursor.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn insert_revocation(&mut self, revocation: &Revocation) -> Result<u64, StoreError> {
        let cursor = self.insert(
            "INSERT INTO revocations (level, target, revoked_at, expires_at, revoked_by, reason, listed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                revocation.level.as_str(),
                revocation.target,
                micros(revocation.revoked_at),
                micros(revocation.expires_at),
                revocation.revoked_by.to_string(),
                revocation.reason,
                revocation.listed,
            ],
        )?;
        u64::try_from(cursor).map_err(|_| StoreError::corrupt(format!("`{cursor}` is no cursor")))
    }

    /// Deletes the not-before marks that are dated after `at`. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_not_before_marks_after(&mut self, at: UnixTime) -> Result<u64, StoreError> {
        let sql = "DELETE FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer') AND revoked_at > ?1";
        Ok(self.execute(sql, [micros(at)])? as u64)
    }
}

impl Tx<'_> {
    /// Starts another log. Followers have to load a snapshot of it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn start_epoch(&mut self) -> Result<(), StoreError> {
        self.execute("UPDATE meta SET epoch = lower(hex(randomblob(8)))", []).map(|_| ())
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

fn level(name: &str) -> Option<Level> {
    let levels = [Level::Token, Level::Session, Level::Agent, Level::Task, Level::Chain, Level::Issuer];
    levels.into_iter().find(|level| level.as_str() == name)
}
