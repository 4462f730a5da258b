//! Launch tokens.

use agentwrit_verify::{AppId, PathSegment, Subject, TokenId, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_bytes, optional_parsed, optional_time, parsed, scopes, time, unsigned},
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{Digest, LaunchToken, LaunchTokenId},
    store::{
        Page, StoreError,
        codec::{joined, micros, signed},
        launch_tokens::{ReadLaunchTokens, WriteLaunchTokens},
    },
};

impl ReadLaunchTokens for Transaction<'_> {
    fn launch_token_by_digest(&self, digest: &Digest) -> Result<Option<LaunchToken>, StoreError> {
        self.find(
            "SELECT id, digest, agent_name, allowed_scope, max_ttl, single_use, created_at, expires_at, created_by, \
             app_id, orch_id, task_id, consumed_at, minted_in FROM launch_tokens WHERE digest = $1",
            values![digest.as_bytes()],
            launch_token,
        )
    }

    fn launch_tokens(&self, now: UnixTime, page: &Page) -> Result<(Vec<(u64, LaunchToken)>, u64), StoreError> {
        let total =
            self.single("SELECT count(*) FROM launch_tokens WHERE expires_at > $1", values![micros(now)], |row| {
                unsigned(row, 0)
            })?;
        let rows = self.list(
            "SELECT id, digest, agent_name, allowed_scope, max_ttl, single_use, created_at, expires_at, created_by, \
             app_id, orch_id, task_id, consumed_at, minted_in, seq FROM launch_tokens \
             WHERE expires_at > $1 AND seq > $2 ORDER BY seq LIMIT $3 OFFSET $4",
            values![micros(now), signed(page.after), signed(page.limit), signed(page.offset)],
            |row| Ok((unsigned(row, 14)?, launch_token(row)?)),
        )?;
        Ok((rows, total))
    }
}

impl WriteLaunchTokens for Transaction<'_> {
    fn insert_launch_token(&mut self, token: &LaunchToken) -> Result<(), StoreError> {
        let seq = self.head_mut().next_launch();
        self.execute(
            "INSERT INTO launch_tokens (seq, id, digest, agent_name, allowed_scope, max_ttl, single_use, created_at, \
             expires_at, created_by, app_id, orch_id, task_id, consumed_at, minted_in) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            values![
                seq,
                token.id.as_bytes(),
                token.digest.as_bytes(),
                token.agent_name.as_str(),
                joined(&token.allowed_scope),
                signed(token.max_ttl),
                token.single_use,
                micros(token.created_at),
                micros(token.expires_at),
                token.created_by.to_string(),
                token.app_id.as_ref().map(AppId::as_str),
                token.orch_id.as_ref().map(PathSegment::as_str),
                token.task_id.as_ref().map(PathSegment::as_str),
                token.consumed_at.map(micros),
                token.minted_in.as_ref().map(TokenId::as_bytes),
            ],
        )?;
        Ok(())
    }

    fn consume_launch_token(&mut self, id: LaunchTokenId, at: UnixTime) -> Result<bool, StoreError> {
        let used = self.execute(
            "UPDATE launch_tokens SET consumed_at = CASE WHEN single_use THEN $2::bigint END \
             WHERE id = $1 AND consumed_at IS NULL",
            values![id.as_bytes(), micros(at)],
        )?;
        Ok(used == 1)
    }

    fn delete_launch_token(&mut self, id: LaunchTokenId) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM launch_tokens WHERE id = $1", values![id.as_bytes()])? == 1)
    }

    fn delete_unused_launch_tokens_by(&mut self, creator: &Subject) -> Result<u64, StoreError> {
        let deleted = match creator {
            Subject::App(app_id) => {
                let sql = "DELETE FROM launch_tokens WHERE app_id = $1 AND consumed_at IS NULL";
                self.execute(sql, values![app_id.as_str()])?
            }
            Subject::Agent(_) | Subject::Admin => {
                let sql = "DELETE FROM launch_tokens WHERE created_by = $1 AND consumed_at IS NULL";
                self.execute(sql, values![creator.to_string()])?
            }
        };
        Ok(deleted)
    }

    fn delete_unused_launch_tokens_of_session(&mut self, sid: &TokenId) -> Result<u64, StoreError> {
        let sql = "DELETE FROM launch_tokens WHERE minted_in = $1 AND consumed_at IS NULL";
        self.execute(sql, values![sid.as_bytes()])
    }

    fn delete_launch_tokens(&mut self) -> Result<u64, StoreError> {
        self.execute("DELETE FROM launch_tokens", values![])
    }
}

fn launch_token(row: &Row) -> Result<LaunchToken, StoreError> {
    Ok(LaunchToken {
        id: LaunchTokenId::from_bytes(bytes(row, 0)?),
        digest: Digest::from_bytes(bytes(row, 1)?),
        agent_name: get(row, 2)?,
        allowed_scope: scopes(row, 3)?,
        max_ttl: unsigned(row, 4)?,
        single_use: get(row, 5)?,
        created_at: time(row, 6)?,
        expires_at: time(row, 7)?,
        created_by: parsed(row, 8, Subject::parse)?,
        app_id: optional_parsed(row, 9, AppId::parse)?,
        orch_id: optional_parsed(row, 10, PathSegment::parse)?,
        task_id: optional_parsed(row, 11, PathSegment::parse)?,
        consumed_at: optional_time(row, 12)?,
        minted_in: optional_bytes(row, 13)?.map(TokenId::from_bytes),
    })
}
