//! Launch tokens.

use agentwrit_verify::{AppId, PathSegment, Subject, TokenId, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_bytes, optional_parsed, optional_time, parsed, scopes, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{Digest, LaunchToken, LaunchTokenId},
    store::{
        Page, StoreError,
        codec::{micros, signed},
        facts::Facts,
        launch_tokens::{LaunchTokensOf, ReadLaunchTokens},
        wants::Wants,
    },
};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, digest, agent_name, allowed_scope, max_ttl, single_use, created_at, expires_at, created_by, \
             app_id, orch_id, task_id, consumed_at, minted_in, seq, sender_constrained FROM launch_tokens ",
            $rest
        )
    };
}

impl ReadLaunchTokens for Transaction<'_> {
    fn launch_tokens(&self, now: UnixTime, page: &Page) -> Result<(Vec<(u64, LaunchToken)>, u64), StoreError> {
        let total =
            self.single("SELECT count(*) FROM launch_tokens WHERE expires_at > $1", values![micros(now)], |row| {
                unsigned(row, 0)
            })?;
        let rows = self.list(
            select!("WHERE expires_at > $1 AND seq > $2 ORDER BY seq LIMIT $3 OFFSET $4"),
            values![micros(now), signed(page.after), signed(page.limit), signed(page.offset)],
            |row| Ok((unsigned(row, 14)?, launch_token(row)?)),
        )?;
        Ok((rows, total))
    }
}

/// Queries for launch tokens by digest and by id.
pub(super) fn queries(wants: &Wants) -> [Option<Query<'_>>; 2] {
    let learn = |row: &Row, facts: &mut Facts| {
        facts.learn_launch_token(launch_token(row)?);
        Ok(())
    };
    let ids = wants.launch_tokens.iter().map(LaunchTokenId::as_bytes);
    [
        Query::of(select!("WHERE digest = ANY($1)"), &wants.launch_digests, learn),
        Query::of(select!("WHERE id = ANY($1)"), ids, learn),
    ]
}

impl Transaction<'_> {
    pub(super) fn delete_unused(&self, of: LaunchTokensOf<'_>) -> Result<u64, StoreError> {
        match of {
            LaunchTokensOf::Creator(Subject::App(app_id)) => {
                let sql = "DELETE FROM launch_tokens WHERE app_id = $1 AND consumed_at IS NULL";
                self.execute(sql, values![app_id.as_str()])
            }
            LaunchTokensOf::Creator(creator @ (Subject::Agent(_) | Subject::Admin)) => {
                let sql = "DELETE FROM launch_tokens WHERE created_by = $1 AND consumed_at IS NULL";
                self.execute(sql, values![creator.to_string()])
            }
            LaunchTokensOf::Session(sid) => {
                let sql = "DELETE FROM launch_tokens WHERE minted_in = $1 AND consumed_at IS NULL";
                self.execute(sql, values![sid.as_bytes()])
            }
        }
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
        sender_constrained: get(row, 15)?,
    })
}
