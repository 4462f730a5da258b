//! Tokens that were issued.

use agentwrit_verify::{AgentId, Level, PathSegment, Subject, TokenId, UnixTime};

use tokio_postgres::Row;

use super::{
    agents::DIALECT,
    codec::{bytes, get, optional_parsed, optional_scopes, optional_time, parsed, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::{Value, values},
};
use crate::{
    domain::{IssuedToken, ListedToken},
    store::{
        StoreError,
        agents::app_id,
        codec::micros,
        facts::KnownToken,
        filter::{Conditions, TokenFilter, page_of_tokens, token_columns},
        tokens::{EndedTokens, ReadTokens, TokenPage},
        wants::Wants,
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
    pub(super) fn end(
        &self,
        level: Level,
        target: &Value<'_>,
        at: UnixTime,
        past: UnixTime,
    ) -> Result<EndedTokens, StoreError> {
        let Some(condition) = condition(level) else { return Ok(EndedTokens::default()) };
        // Only agents' tokens have a task.
        let live = "ended_at IS NULL AND expires_at > $3";
        let sql = format!(
            "SELECT count(*) > 0, max(CASE WHEN expires_at > $2 THEN expires_at END), \
             count(CASE WHEN {live} THEN 1 END), \
             count(DISTINCT CASE WHEN {live} AND task IS NOT NULL THEN subject END), \
             count(DISTINCT CASE WHEN {live} THEN task END) FROM tokens WHERE {condition}"
        );
        // Expired tokens are ended too: if the clock is ahead, they become valid again once it is corrected.
        let ended = self.single(&sql, values![target.clone(), micros(past), micros(at)], |row| {
            let (count, agents, tasks) = (unsigned(row, 2)?, unsigned(row, 3)?, unsigned(row, 4)?);
            let (known, last_expiry) = (get(row, 0)?, optional_time(row, 1)?);
            Ok(EndedTokens { known, count, agents, tasks, last_expiry, ahead: Vec::new() })
        })?;
        let next_second = micros(UnixTime::from_seconds(at.seconds().saturating_add(1)));
        let sql = format!("SELECT jti, expires_at FROM tokens WHERE {condition} AND issued_at >= $2");
        let ahead = self.list(&sql, values![target.clone(), next_second], |row| {
            Ok((TokenId::from_bytes(bytes(row, 0)?), time(row, 1)?))
        })?;
        let sql = format!("UPDATE tokens SET ended_at = $2 WHERE {condition} AND ended_at IS NULL");
        self.execute(&sql, values![target.clone(), micros(at)])?;
        Ok(EndedTokens { ahead, ..ended })
    }
}

impl ReadTokens for Transaction<'_> {
    fn tokens(&self, filter: &TokenFilter, page: &TokenPage) -> Result<(Vec<ListedToken>, u64), StoreError> {
        let Some(conditions) = Conditions::of_tokens(DIALECT, self, filter)? else { return Ok((Vec::new(), 0)) };
        let total = self.single(&conditions.count_of_tokens(), &conditions.values, |row| unsigned(row, 0))?;
        let (sql, values) = conditions.numbered(page_of_tokens(total), page.values());
        let mut tokens = self.list(&sql, &values, |row| {
            let (token, ended_at) = issued_token(row)?;
            Ok(ListedToken { token, scope: optional_scopes(row, 13)?, ended_at })
        })?;
        let delegated: Vec<[u8; 16]> = tokens
            .iter()
            .filter(|listed| listed.token.root.is_some())
            .map(|listed| *listed.token.jti.as_bytes())
            .collect();
        if delegated.is_empty() {
            return Ok((tokens, total));
        }
        let delegators = self.list(DELEGATORS, values![delegated], delegator)?;
        for (jti, agent, sid) in delegators {
            if let Some(ListedToken { token, .. }) = tokens.iter_mut().find(|listed| listed.token.jti == jti) {
                token.delegators.push(agent);
                token.delegator_sids.push(sid);
            }
        }
        Ok((tokens, total))
    }

    fn last_expiry_of_tokens(&self) -> Result<Option<UnixTime>, StoreError> {
        self.single("SELECT max(expires_at) FROM tokens", values![], |row| optional_time(row, 0))
    }
}

impl Transaction<'_> {
    pub(super) fn end_all(&self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
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

/// Delegators of tokens, root first.
const DELEGATORS: &str =
    "SELECT jti, name, sid FROM token_delegators JOIN names ON id = agent WHERE jti = ANY($1) ORDER BY jti, hop";

/// Queries for tokens, and for the delegators of each, root first.
pub(super) fn queries(wants: &Wants) -> [Option<Query<'_>>; 2] {
    let jtis = || wants.tokens.iter().map(TokenId::as_bytes);
    let tokens = Query::of(
        concat!(
            "SELECT ",
            token_columns!(),
            " FROM tokens JOIN names AS subject ON subject.id = tokens.subject \
             LEFT JOIN names AS app ON app.id = tokens.app LEFT JOIN names AS task ON task.id = tokens.task \
             LEFT JOIN names AS root ON root.id = tokens.root WHERE jti = ANY($1)"
        ),
        jtis(),
        |row, facts| {
            let (token, ended_at) = issued_token(row)?;
            facts.tokens.learn(token.jti, Some(KnownToken { token, ended: ended_at.is_some() }));
            Ok(())
        },
    );
    let delegators = Query::of(DELEGATORS, jtis(), |row, facts| {
        let (jti, agent, sid) = delegator(row)?;
        facts.learn_delegator(&jti, agent, sid);
        Ok(())
    });
    [tokens, delegators]
}

fn delegator(row: &Row) -> Result<(TokenId, AgentId, TokenId), StoreError> {
    let (jti, sid) = (TokenId::from_bytes(bytes(row, 0)?), TokenId::from_bytes(bytes(row, 2)?));
    Ok((jti, parsed(row, 1, AgentId::parse)?, sid))
}

/// Reads the record of a token and the time at which it ended. Its delegators are in another table.
fn issued_token(row: &Row) -> Result<(IssuedToken, Option<UnixTime>), StoreError> {
    let token = IssuedToken {
        jti: TokenId::from_bytes(bytes(row, 0)?),
        sid: TokenId::from_bytes(bytes(row, 1)?),
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
        sender_constrained: get(row, 11)?,
        scope: optional_scopes(row, 12)?,
    };
    Ok((token, optional_time(row, 10)?))
}
