//! Tokens that were issued.

use agentwrit_verify::{AgentId, Level, PathSegment, Subject, TokenId, UnixTime};
use rusqlite::{Row, ToSql, params, params_from_iter};

use super::{
    agents::DIALECT,
    codec::{optional_parsed, optional_scopes, optional_time, parsed, time, unsigned},
    transaction::Transaction,
};
use crate::{
    domain::{IssuedToken, ListedToken},
    store::{
        StoreError,
        agents::app_id,
        codec::micros,
        facts::{Facts, KnownToken},
        filter::{Conditions, TokenFilter, page_of_tokens, token_columns},
        tokens::{EndedTokens, ReadTokens, TokenPage},
    },
};

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

impl Transaction<'_> {
    fn delegators(&self, jti: &TokenId) -> Result<Vec<(AgentId, TokenId)>, StoreError> {
        self.list(
            "SELECT name, sid FROM token_delegators JOIN names ON id = agent WHERE jti = ?1 ORDER BY hop",
            [jti.as_bytes()],
            |row| Ok((parsed(row, 0, AgentId::parse)?, TokenId::from_bytes(row.get(1)?))),
        )
    }

    pub(super) fn end(
        &self,
        level: Level,
        target: &dyn ToSql,
        at: UnixTime,
        past: UnixTime,
    ) -> Result<EndedTokens, StoreError> {
        let Some(condition) = condition(level) else { return Ok(EndedTokens::default()) };
        // Only agents' tokens have a task.
        let live = "ended_at IS NULL AND expires_at > ?3";
        let sql = format!(
            "SELECT count(*) > 0, max(CASE WHEN expires_at > ?2 THEN expires_at END), \
             count(CASE WHEN {live} THEN 1 END), \
             count(DISTINCT CASE WHEN {live} AND task IS NOT NULL THEN subject END), \
             count(DISTINCT CASE WHEN {live} THEN task END) FROM tokens WHERE {condition}"
        );
        // Expired tokens are ended too: if the clock is ahead, they become valid again once it is corrected.
        let ended = self.single(&sql, params![target, micros(past), micros(at)], |row| {
            let (count, agents, tasks) = (unsigned(row, 2)?, unsigned(row, 3)?, unsigned(row, 4)?);
            let (known, last_expiry) = (row.get(0)?, optional_time(row, 1)?);
            Ok(EndedTokens { known, count, agents, tasks, last_expiry, ahead: Vec::new() })
        })?;
        let next_second = micros(UnixTime::from_seconds(at.seconds().saturating_add(1)));
        let sql = format!("SELECT jti, expires_at FROM tokens WHERE {condition} AND issued_at >= ?2");
        let ahead =
            self.list(&sql, params![target, next_second], |row| Ok((TokenId::from_bytes(row.get(0)?), time(row, 1)?)))?;
        let sql = format!("UPDATE tokens SET ended_at = ?2 WHERE {condition} AND ended_at IS NULL");
        self.execute(&sql, params![target, micros(at)])?;
        Ok(EndedTokens { ahead, ..ended })
    }
}

impl ReadTokens for Transaction<'_> {
    fn tokens(&self, filter: &TokenFilter, page: &TokenPage) -> Result<(Vec<ListedToken>, u64), StoreError> {
        let Some(conditions) = Conditions::of_tokens(DIALECT, self, filter)? else { return Ok((Vec::new(), 0)) };
        let count = conditions.count_of_tokens();
        let total = self.single(&count, params_from_iter(&conditions.values), |row| unsigned(row, 0))?;
        let (sql, values) = conditions.numbered(page_of_tokens(total), page.values());
        let mut tokens = self.list(&sql, params_from_iter(&values), |row| {
            let (token, ended_at) = issued_token(row)?;
            Ok(ListedToken { token, scope: optional_scopes(row, 13)?, ended_at })
        })?;
        for ListedToken { token, .. } in tokens.iter_mut().filter(|listed| listed.token.root.is_some()) {
            (token.delegators, token.delegator_sids) = self.delegators(&token.jti)?.into_iter().unzip();
        }
        Ok((tokens, total))
    }

    fn last_expiry_of_tokens(&self) -> Result<Option<UnixTime>, StoreError> {
        self.single("SELECT max(expires_at) FROM tokens", [], |row| optional_time(row, 0))
    }
}

impl Transaction<'_> {
    pub(super) fn fetch_token(&self, jti: &TokenId, facts: &mut Facts) -> Result<(), StoreError> {
        let found = self.find(
            concat!(
                "SELECT ",
                token_columns!(),
                " FROM tokens JOIN names AS subject ON subject.id = tokens.subject \
                 LEFT JOIN names AS app ON app.id = tokens.app LEFT JOIN names AS task ON task.id = tokens.task \
                 LEFT JOIN names AS root ON root.id = tokens.root WHERE jti = ?1"
            ),
            [jti.as_bytes()],
            |row| {
                let (token, ended_at) = issued_token(row)?;
                Ok(KnownToken { token, ended: ended_at.is_some() })
            },
        )?;
        let Some(mut known) = found else { return Ok(()) };
        if known.token.root.is_some() {
            (known.token.delegators, known.token.delegator_sids) = self.delegators(jti)?.into_iter().unzip();
        }
        facts.tokens.learn(*jti, Some(known));
        Ok(())
    }

    pub(super) fn end_all(&self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        let next_second = UnixTime::from_seconds(at.seconds().saturating_add(1));
        let ahead = self.list(
            "SELECT jti, expires_at FROM tokens WHERE issued_at >= ?1 AND expires_at > ?2",
            params![micros(next_second), micros(at)],
            |row| Ok((TokenId::from_bytes(row.get(0)?), time(row, 1)?)),
        )?;
        self.execute("UPDATE tokens SET ended_at = ?1 WHERE ended_at IS NULL", [micros(at)])?;
        Ok(ahead)
    }
}

/// Reads the record of a token and the time at which it ended. Its delegators are in another table.
fn issued_token(row: &Row<'_>) -> rusqlite::Result<(IssuedToken, Option<UnixTime>)> {
    let token = IssuedToken {
        jti: TokenId::from_bytes(row.get(0)?),
        sid: TokenId::from_bytes(row.get(1)?),
        subject: parsed(row, 2, Subject::parse)?,
        app_id: optional_parsed(row, 3, app_id)?,
        task_id: optional_parsed(row, 4, PathSegment::parse)?,
        root: optional_parsed(row, 5, AgentId::parse)?,
        delegators: Vec::new(),
        delegator_sids: Vec::new(),
        issued_at: time(row, 6)?,
        expires_at: time(row, 7)?,
        original_ttl: unsigned(row, 8)?,
        session_started_at: time(row, 9)?,
        sender_constrained: row.get(11)?,
        scope: optional_scopes(row, 12)?,
    };
    Ok((token, optional_time(row, 10)?))
}
