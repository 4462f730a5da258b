//! A statement with its parameters, to be sent with others.

use std::borrow::Cow;

use tokio_postgres::Row;

use super::value::Value;
use crate::store::{StoreError, facts::Facts};

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
