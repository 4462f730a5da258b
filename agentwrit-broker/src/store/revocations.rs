//! The log of revocations.

use agentwrit_verify::{Level, Subject, UnixTime};
use rusqlite::{Row, params};

use super::{
    Reader, StoreError, Tx,
    codec::{micros, parsed, time, unreadable, unsigned},
};
use crate::domain::Revocation;

/// A revocation and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRow {
    /// Larger than that of every revocation before it, and never used twice.
    pub cursor: u64,
    /// What was revoked.
    pub revocation: Revocation,
}

impl Reader<'_> {
    /// What identifies the log: cursors of another epoch mean nothing.
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
        self.list(
            "SELECT cursor, level, target, revoked_at, expires_at, revoked_by, reason FROM revocations \
             WHERE expires_at > ?1 ORDER BY cursor",
            [micros(now)],
            revocation,
        )
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
            "INSERT INTO revocations (level, target, revoked_at, expires_at, revoked_by, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                revocation.level.as_str(),
                revocation.target,
                micros(revocation.revoked_at),
                micros(revocation.expires_at),
                revocation.revoked_by.to_string(),
                revocation.reason,
            ],
        )?;
        u64::try_from(cursor).map_err(|_| StoreError::corrupt(format!("`{cursor}` is no cursor")))
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
    };
    Ok(RevocationRow { cursor: unsigned(row, 0)?, revocation })
}

fn level(name: &str) -> Option<Level> {
    let levels = [Level::Token, Level::Session, Level::Agent, Level::Task, Level::Chain, Level::Issuer];
    levels.into_iter().find(|level| level.as_str() == name)
}
