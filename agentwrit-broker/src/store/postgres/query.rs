//! Queries for the rows of many keys, sent together.

use std::borrow::Cow;

use tokio_postgres::Row;

use super::{agents, apps, launch_tokens, meta, names, revocations, tokens, value::Value};
use crate::store::{StoreError, facts::Facts, wants::Wants};

/// A statement, its parameters, and what its rows are.
#[derive(Debug)]
pub(super) struct Query<'q> {
    pub(super) sql: Cow<'static, str>,
    pub(super) values: Vec<Value<'q>>,
    /// Notes a row.
    pub(super) learn: fn(&Row, &mut Facts) -> Result<(), StoreError>,
}

impl<'q> Query<'q> {
    /// A query for the rows of keys; none without a key.
    pub(super) fn of<K>(
        sql: &'static str,
        keys: impl IntoIterator<Item = K>,
        learn: fn(&Row, &mut Facts) -> Result<(), StoreError>,
    ) -> Option<Self>
    where
        Value<'q>: From<K>,
    {
        let keys: Vec<Value<'q>> = keys.into_iter().map(Value::from).collect();
        (!keys.is_empty()).then(|| Self { sql: Cow::Borrowed(sql), values: vec![Value::List(keys)], learn })
    }

    /// A statement whose rows are of no interest, or read by position.
    pub(super) fn unread(sql: impl Into<Cow<'static, str>>, values: Vec<Value<'q>>) -> Self {
        Self { sql: sql.into(), values, learn: |_, _| Ok(()) }
    }
}

/// Returns the queries for the rows of `wants`.
pub(super) fn queries(wants: &Wants) -> Vec<Query<'_>> {
    let [by_digest, by_id] = launch_tokens::queries(wants);
    let [tokens, delegators] = tokens::queries(wants);
    let apps = apps::query(wants);
    let agents = agents::query(wants);
    let nonces = meta::query(wants);
    let marks = revocations::query(wants);
    let names = names::query(wants);
    [by_digest, by_id, apps, agents, tokens, delegators, nonces, marks, names].into_iter().flatten().collect()
}

/// Notes the rows that the queries returned.
pub(super) fn learn(queries: &[Query<'_>], rows: &[Vec<Row>], facts: &mut Facts) -> Result<(), StoreError> {
    for (query, rows) in queries.iter().zip(rows) {
        rows.iter().try_for_each(|row| (query.learn)(row, facts))?;
    }
    Ok(())
}
