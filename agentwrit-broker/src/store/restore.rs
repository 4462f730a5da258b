//! What a restored store forgets, ends and bars.

use agentwrit_verify::{AppId, TokenId, UnixTime};
use rusqlite::params;

use super::{
    StoreError, Tx,
    codec::{micros, parsed, time},
};

impl Tx<'_> {
    /// Suspends every active app; which ones.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn suspend_apps(&mut self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        let active = "SELECT app_id FROM apps WHERE active AND NOT suspended ORDER BY id";
        let apps = self.list(active, [], |row| parsed(row, 0, AppId::parse))?;
        self.execute("UPDATE apps SET suspended = 1, updated_at = ?1 WHERE active AND NOT suspended", [micros(at)])?;
        Ok(apps)
    }

    /// Bars every agent from ever receiving another token; how many were not barred before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn bar_agents(&mut self, at: UnixTime) -> Result<u64, StoreError> {
        Ok(self.execute("UPDATE agents SET revoked_at = ?1 WHERE revoked_at IS NULL", [micros(at)])? as u64)
    }

    /// Ends every token; those that are dated after the second of `at` and have not expired, with their expiry.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_tokens(&mut self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        let next_second = UnixTime::from_seconds(at.seconds().saturating_add(1));
        let ahead = self.list(
            "SELECT jti, expires_at FROM tokens WHERE issued_at >= ?1 AND expires_at > ?2",
            params![micros(next_second), micros(at)],
            |row| Ok((TokenId::from_bytes(row.get(0)?), time(row, 1)?)),
        )?;
        self.execute("UPDATE tokens SET ended_at = ?1 WHERE ended_at IS NULL", [micros(at)])?;
        Ok(ahead)
    }

    /// Deletes the not-before marks that are dated after `at`; how many.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn delete_marks_after(&mut self, at: UnixTime) -> Result<u64, StoreError> {
        let sql = "DELETE FROM revocations WHERE level IN ('agent', 'task', 'chain', 'issuer') AND revoked_at > ?1";
        Ok(self.execute(sql, [micros(at)])? as u64)
    }

    /// Forgets the uses of nonces that expire until then, and has all of those count as expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn expire_nonces_until(&mut self, until: UnixTime) -> Result<(), StoreError> {
        let sql = "UPDATE meta SET nonces_forgotten_until = max(nonces_forgotten_until, ?1)";
        self.execute(sql, [micros(until)]).map(|_| ())
    }
}
