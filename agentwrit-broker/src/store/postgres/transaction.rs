//! Statements of one transaction.

use tokio_postgres::Row;

use super::{head::Head, session::Session, value::Value};
use crate::store::StoreError;

/// Access to one state of the database: of the writer, or of a read, which is given as a [`Reader`](crate::store::Reader) only.
#[derive(Debug)]
pub(in crate::store) struct Transaction<'a> {
    session: &'a Session,
    /// The head row at its begin.
    head: &'a Head,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(session: &'a Session, head: &'a Head) -> Self {
        Self { session, head }
    }

    pub(super) fn session(&self) -> &Session {
        self.session
    }

    pub(super) fn head(&self) -> &Head {
        self.head
    }

    /// Returns the first row, if there is one.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.session.rows(sql, values)?.first().map(read).transpose()
    }

    /// Returns the only row of a statement that always has one.
    pub(super) fn single<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.find(sql, values, read)?.ok_or_else(|| StoreError::internal("a statement returned no row"))
    }

    /// Visits all rows, for results that are too large to collect.
    pub(super) fn each(
        &self,
        sql: &str,
        values: &[Value<'_>],
        visit: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.session.each(sql, values, visit)
    }

    /// Returns all rows.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.session.rows(sql, values)?.iter().map(read).collect()
    }

    /// Executes a statement that writes. Returns the number of rows that it changed.
    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.session.execute(sql, values)
    }
}
