//! Tokens that left the broker.

use agentwrit_verify::{AgentId, PathSegment, Subject, TokenId};
use rusqlite::params;

use super::{
    Reader, StoreError, Tx,
    agents::app_id,
    codec::{micros, optional_parsed, parsed, signed, time, unsigned},
};
use crate::domain::IssuedToken;

impl Reader<'_> {
    /// A token, live or not; expired ones are forgotten after a while.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn token(&self, jti: &TokenId) -> Result<Option<IssuedToken>, StoreError> {
        let found = self.find(
            "SELECT sid, subject.name, app.name, task.name, root.name, issued_at, expires_at, original_ttl, \
             session_started_at FROM tokens JOIN names AS subject ON subject.id = subject \
             LEFT JOIN names AS app ON app.id = tokens.app LEFT JOIN names AS task ON task.id = task \
             LEFT JOIN names AS root ON root.id = root WHERE jti = ?1",
            [jti.as_bytes()],
            |row| {
                Ok(IssuedToken {
                    jti: *jti,
                    sid: TokenId::from_bytes(row.get(0)?),
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

    fn delegators(&self, jti: &TokenId) -> Result<Vec<(AgentId, TokenId)>, StoreError> {
        self.list(
            "SELECT name, sid FROM token_delegators JOIN names ON id = agent WHERE jti = ?1 ORDER BY hop",
            [jti.as_bytes()],
            |row| Ok((parsed(row, 0, AgentId::parse)?, TokenId::from_bytes(row.get(1)?))),
        )
    }
}

impl Tx<'_> {
    /// Adds a token, before it leaves the broker.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also when its jti is taken, or not each delegator has a session.
    pub fn insert_token(&mut self, token: &IssuedToken) -> Result<(), StoreError> {
        if token.delegators.len() != token.delegator_sids.len() || token.root.as_ref() != token.delegators.first() {
            return Err(StoreError::internal("a delegated token has a root, and a session for each delegator"));
        }
        let subject = self.intern(&token.subject.to_string())?.id;
        let app = self.intern_app(token.app_id.as_ref())?;
        let task = token.task_id.as_ref().map(|task| self.intern(task.as_str())).transpose()?;
        let root = token.root.as_ref().map(|root| self.intern(root.as_str())).transpose()?;
        self.execute(
            "INSERT INTO tokens (jti, sid, subject, app, task, root, issued_at, expires_at, original_ttl, \
             session_started_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
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
                "INSERT INTO token_delegators (jti, hop, agent, sid) VALUES (?1, ?2, ?3, ?4)",
                params![token.jti.as_bytes(), hop, agent, sid.as_bytes()],
            )?;
        }
        Ok(())
    }
}
