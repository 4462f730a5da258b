//! Tokens that were issued.

use agentwrit_verify::{AgentId, Level, PathSegment, Subject, TokenId, UnixTime};

use super::{
    codec::{bytes, get, optional_parsed, optional_time, parsed, time, unsigned},
    transaction::Transaction,
    value::{Value, values},
};
use crate::{
    domain::IssuedToken,
    store::{
        StoreError,
        agents::app_id,
        codec::{micros, signed},
        names::{ReadNames, WriteNames},
        tokens::{EndedTokens, ReadTokens, WriteTokens, check_delegation},
    },
};

/// Tokens of a level; `$1` is the target. The first token of a session is found by its jti.
fn condition(level: Level) -> Option<&'static str> {
    match level {
        Level::Token | Level::Session => {
            Some("(jti = $1 OR (sid = $1 AND sid <> jti) OR jti IN (SELECT jti FROM token_delegators WHERE sid = $1))")
        }
        Level::Agent => Some("(subject = $1 OR jti IN (SELECT jti FROM token_delegators WHERE agent = $1))"),
        Level::Task => Some("(task = $1)"),
        Level::Chain => Some("((subject = $1 AND root IS NULL) OR root = $1)"),
        Level::Issuer => None,
    }
}

impl Transaction<'_> {
    fn delegators(&self, jti: &TokenId) -> Result<Vec<(AgentId, TokenId)>, StoreError> {
        self.list(
            "SELECT name, sid FROM token_delegators JOIN names ON id = agent WHERE jti = $1 ORDER BY hop",
            values![jti.as_bytes()],
            |row| Ok((parsed(row, 0, AgentId::parse)?, TokenId::from_bytes(bytes(row, 1)?))),
        )
    }

    fn end(&mut self, level: Level, target: &Value, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        let Some(condition) = condition(level) else { return Ok(EndedTokens::default()) };
        let sql = format!(
            "SELECT count(*) > 0, max(CASE WHEN expires_at > $2 THEN expires_at END), \
             count(CASE WHEN ended_at IS NULL AND expires_at > $3 THEN 1 END) FROM tokens WHERE {condition}"
        );
        // Expired tokens are ended too: if the clock is ahead, they become valid again once it is corrected.
        let (known, last_expiry, count) =
            self.single(&sql, values![target.clone(), micros(past), micros(at)], |row| {
                Ok((get(row, 0)?, optional_time(row, 1)?, unsigned(row, 2)?))
            })?;
        let next_second = micros(UnixTime::from_seconds(at.seconds().saturating_add(1)));
        let sql = format!("SELECT jti, expires_at FROM tokens WHERE {condition} AND issued_at >= $2");
        let ahead = self.list(&sql, values![target.clone(), next_second], |row| {
            Ok((TokenId::from_bytes(bytes(row, 0)?), time(row, 1)?))
        })?;
        let sql = format!("UPDATE tokens SET ended_at = $2 WHERE {condition} AND ended_at IS NULL");
        self.execute(&sql, values![target.clone(), micros(at)])?;
        Ok(EndedTokens { known, count, last_expiry, ahead })
    }
}

impl ReadTokens for Transaction<'_> {
    fn token(&self, jti: &TokenId) -> Result<Option<IssuedToken>, StoreError> {
        let found = self.find(
            "SELECT sid, subject.name, app.name, task.name, root.name, issued_at, expires_at, original_ttl, \
             session_started_at FROM tokens JOIN names AS subject ON subject.id = tokens.subject \
             LEFT JOIN names AS app ON app.id = tokens.app LEFT JOIN names AS task ON task.id = tokens.task \
             LEFT JOIN names AS root ON root.id = tokens.root WHERE jti = $1",
            values![jti.as_bytes()],
            |row| {
                Ok(IssuedToken {
                    jti: *jti,
                    sid: TokenId::from_bytes(bytes(row, 0)?),
                    subject: parsed(row, 1, Subject::parse)?,
                    app_id: optional_parsed(row, 2, app_id)?,
                    task_id: optional_parsed(row, 3, PathSegment::parse)?,
                    root: optional_parsed(row, 4, AgentId::parse)?,
                    delegators: Vec::new(),
                    delegator_sids: Vec::new(),
                    issued_at: time(row, 5)?,
                    expires_at: time(row, 6)?,
                    original_ttl: unsigned(row, 7)?,
                    session_started_at: time(row, 8)?,
                })
            },
        )?;
        let Some(mut token) = found else {
            return Ok(None);
        };
        if token.root.is_some() {
            (token.delegators, token.delegator_sids) = self.delegators(jti)?.into_iter().unzip();
        }
        Ok(Some(token))
    }

    fn has_ended(&self, jti: &TokenId) -> Result<Option<bool>, StoreError> {
        self.find("SELECT ended_at IS NOT NULL FROM tokens WHERE jti = $1", values![jti.as_bytes()], |row| get(row, 0))
    }
}

impl WriteTokens for Transaction<'_> {
    fn insert_token(&mut self, token: &IssuedToken) -> Result<(), StoreError> {
        check_delegation(token)?;
        let subject = self.intern(&token.subject.to_string())?.id;
        let app = self.intern_app(token.app_id.as_ref())?;
        let task = token.task_id.as_ref().map(|task| self.intern(task.as_str())).transpose()?;
        let root = token.root.as_ref().map(|root| self.intern(root.as_str())).transpose()?;
        self.execute(
            "INSERT INTO tokens (jti, sid, subject, app, task, root, issued_at, expires_at, original_ttl, \
             session_started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            values![
                token.jti.as_bytes(),
                token.sid.as_bytes(),
                subject,
                app,
                task.map(|name| name.id),
                root.map(|name| name.id),
                micros(token.issued_at),
                micros(token.expires_at),
                signed(token.original_ttl),
                micros(token.session_started_at),
            ],
        )?;
        for (hop, (agent, sid)) in (0_i64..).zip(token.delegators.iter().zip(&token.delegator_sids)) {
            let agent = self.intern(agent.as_str())?.id;
            self.execute(
                "INSERT INTO token_delegators (jti, hop, agent, sid) VALUES ($1, $2, $3, $4)",
                values![token.jti.as_bytes(), hop, agent, sid.as_bytes()],
            )?;
        }
        Ok(())
    }

    fn end_token(&mut self, jti: &TokenId, at: UnixTime) -> Result<bool, StoreError> {
        let sql = "UPDATE tokens SET ended_at = $2 WHERE jti = $1 AND ended_at IS NULL";
        Ok(self.execute(sql, values![jti.as_bytes(), micros(at)])? == 1)
    }

    fn end_session(&mut self, sid: &TokenId, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        self.end(Level::Session, &sid.as_bytes().into(), at, past)
    }

    fn end_tokens_of(
        &mut self,
        level: Level,
        target: &str,
        at: UnixTime,
        past: UnixTime,
    ) -> Result<EndedTokens, StoreError> {
        match self.name(target)? {
            Some(name) => self.end(level, &name.id.into(), at, past),
            None => Ok(EndedTokens::default()),
        }
    }

    fn end_all_tokens(&mut self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        let next_second = UnixTime::from_seconds(at.seconds().saturating_add(1));
        let ahead = self.list(
            "SELECT jti, expires_at FROM tokens WHERE issued_at >= $1 AND expires_at > $2",
            values![micros(next_second), micros(at)],
            |row| Ok((TokenId::from_bytes(bytes(row, 0)?), time(row, 1)?)),
        )?;
        self.execute("UPDATE tokens SET ended_at = $1 WHERE ended_at IS NULL", values![micros(at)])?;
        Ok(ahead)
    }
}
