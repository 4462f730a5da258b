//! Tokens that end before their time, and whose lives hang together.

use agentwrit_verify::{AgentId, Level, TokenId, UnixTime};
use rusqlite::{ToSql, params};

use super::{
    Reader, StoreError, Tx,
    codec::{micros, optional_time, time, unsigned},
};

/// What a revocation found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Whether the target is known at all, dead or alive.
    pub known: bool,
    /// How many live tokens it ended.
    pub count: u64,
    /// When the last of the tokens that it names expires; none when all have expired for certain.
    pub last_expiry: Option<UnixTime>,
    /// Those of them that are dated after the second of the revocation, with their expiry: a not-before mark of that
    /// second doesn't reach them. There are some where the clock was set back, or right after an earlier mark.
    pub ahead: Vec<(TokenId, UnixTime)>,
}

/// Tokens of a level; `?1` is the target. The first token of a session is found by its jti.
fn condition(level: Level) -> Option<&'static str> {
    match level {
        Level::Token | Level::Session => {
            Some("(jti = ?1 OR (sid = ?1 AND sid <> jti) OR jti IN (SELECT jti FROM token_delegators WHERE sid = ?1))")
        }
        Level::Agent => Some("(subject = ?1 OR jti IN (SELECT jti FROM token_delegators WHERE agent = ?1))"),
        Level::Task => Some("(task = ?1)"),
        Level::Chain => Some("((subject = ?1 AND root IS NULL) OR root = ?1)"),
        Level::Issuer => None,
    }
}

impl Reader<'_> {
    /// Whether a token was released, renewed or revoked; none when it is unknown.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn has_ended(&self, jti: &TokenId) -> Result<Option<bool>, StoreError> {
        self.find("SELECT ended_at IS NOT NULL FROM tokens WHERE jti = ?1", [jti.as_bytes()], |row| row.get(0))
    }
}

impl Tx<'_> {
    /// Ends one token; false when it is unknown or has ended already.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_token(&mut self, jti: &TokenId, at: UnixTime) -> Result<bool, StoreError> {
        let sql = "UPDATE tokens SET ended_at = ?2 WHERE jti = ?1 AND ended_at IS NULL";
        Ok(self.execute(sql, params![jti.as_bytes(), micros(at)])? == 1)
    }

    /// Ends a session and everything that was delegated from it. What expired until `past` has expired for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_session(&mut self, sid: &TokenId, at: UnixTime, past: UnixTime) -> Result<Ended, StoreError> {
        self.end(Level::Session, sid.as_bytes(), at, past)
    }

    /// Ends the tokens that a subject, task or root delegator stands for at a level. What expired until `past` has expired
    /// for certain.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn end_named(&mut self, level: Level, target: &str, at: UnixTime, past: UnixTime) -> Result<Ended, StoreError> {
        match self.name(target)? {
            Some(name) => self.end(level, &name.id, at, past),
            None => Ok(Ended::default()),
        }
    }

    fn end(&mut self, level: Level, target: &dyn ToSql, at: UnixTime, past: UnixTime) -> Result<Ended, StoreError> {
        let Some(condition) = condition(level) else { return Ok(Ended::default()) };
        let sql = format!(
            "SELECT count(*) > 0, max(CASE WHEN expires_at > ?2 THEN expires_at END), \
             count(CASE WHEN ended_at IS NULL AND expires_at > ?3 THEN 1 END) FROM tokens WHERE {condition}"
        );
        // What has expired is ended too: where the clock is ahead, it will be alive again.
        let (known, last_expiry, count) = self.single(&sql, params![target, micros(past), micros(at)], |row| {
            Ok((row.get(0)?, optional_time(row, 1)?, unsigned(row, 2)?))
        })?;
        let next_second = micros(UnixTime::from_seconds(at.seconds().saturating_add(1)));
        let sql = format!("SELECT jti, expires_at FROM tokens WHERE {condition} AND issued_at >= ?2");
        let ahead =
            self.list(&sql, params![target, next_second], |row| Ok((TokenId::from_bytes(row.get(0)?), time(row, 1)?)))?;
        let sql = format!("UPDATE tokens SET ended_at = ?2 WHERE {condition} AND ended_at IS NULL");
        self.execute(&sql, params![target, micros(at)])?;
        Ok(Ended { known, count, last_expiry, ahead })
    }

    /// Bars an agent from ever receiving another token; false when it is unknown.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn bar_agent(&mut self, agent: &AgentId, at: UnixTime) -> Result<bool, StoreError> {
        let sql = "UPDATE agents SET revoked_at = coalesce(revoked_at, ?2) \
                   WHERE id = (SELECT id FROM names WHERE name = ?1)";
        Ok(self.execute(sql, params![agent.as_str(), micros(at)])? == 1)
    }

    /// Notes that an agent holds a token until `expires_at`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn extend_agent(&mut self, agent: &AgentId, expires_at: UnixTime) -> Result<(), StoreError> {
        let sql =
            "UPDATE agents SET expires_at = max(expires_at, ?2) WHERE id = (SELECT id FROM names WHERE name = ?1)";
        self.execute(sql, params![agent.as_str(), micros(expires_at)]).map(|_| ())
    }
}
