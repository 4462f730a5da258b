//! Statements of one transaction.

use agentwrit_verify::{AppId, Level, TokenId, UnixTime};
use tokio_postgres::Row;

use super::{
    audit,
    head::Head,
    query::{learn, queries},
    session::Session,
    value::Value,
    write,
};
use crate::store::{
    StoreError,
    facts::{Facts, ReadFacts},
    launch_tokens::LaunchTokensOf,
    pending::Pending,
    prune::Pruned,
    rows::Rows,
    tokens::{EndedTokens, TokensOf},
    trail::OrdinalKey,
    wants::Wants,
};

/// Access to one state of the database: of the writer, or of a read, which is given as a [`Reader`](crate::store::Reader) only.
#[derive(Debug)]
pub(in crate::store) struct Transaction<'a> {
    session: &'a Session,
    /// The head row at its begin.
    head: &'a Head,
}

impl ReadFacts for Transaction<'_> {
    fn with_facts(&self, wants: Wants, read: &mut dyn FnMut(&Facts)) -> Result<(), StoreError> {
        let mut facts = Facts::default();
        self.fetch(&wants, &mut facts)?;
        read(&facts);
        Ok(())
    }
}

impl Rows for Transaction<'_> {
    fn fetch(&self, wants: &Wants, facts: &mut Facts) -> Result<(), StoreError> {
        let queries = queries(wants);
        let rows = self.session.pipeline(&queries)?;
        learn(&queries, &rows, facts)
    }

    fn last_ordinals(&self, keys: &[OrdinalKey]) -> Result<Vec<u64>, StoreError> {
        let queries = audit::ordinal_queries(keys);
        let rows = self.session.pipeline(&queries)?;
        audit::ordinals(keys.len(), &rows)
    }

    fn write(&self, rows: &Pending) -> Result<(), StoreError> {
        self.session.pipeline(&write::queries(rows)?).map(|_| ())
    }

    fn set_savepoint(&self) -> Result<(), StoreError> {
        self.session.batch("SAVEPOINT job")
    }

    fn release_savepoint(&self) -> Result<(), StoreError> {
        self.session.batch("RELEASE SAVEPOINT job")
    }

    fn roll_back_to_savepoint(&self) -> Result<(), StoreError> {
        self.session.batch("ROLLBACK TO SAVEPOINT job; RELEASE SAVEPOINT job")
    }

    fn lost(&self) -> Option<StoreError> {
        let cause = "the connection was lost".to_owned();
        self.session.is_closed().then_some(StoreError::Unavailable { cause })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn suspend_apps(&self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        self.suspend_active_apps(at)
    }

    fn bar_agents(&self, at: UnixTime) -> Result<u64, StoreError> {
        self.bar_all_agents(at)
    }

    fn end_tokens(&self, of: TokensOf, at: UnixTime, past: UnixTime) -> Result<EndedTokens, StoreError> {
        match of {
            TokensOf::Session(sid) => self.end(Level::Session, &Value::from(sid.as_bytes()), at, past),
            TokensOf::Named(level, name) => self.end(level, &Value::from(name), at, past),
        }
    }

    fn end_all_tokens(&self, at: UnixTime) -> Result<Vec<(TokenId, UnixTime)>, StoreError> {
        self.end_all(at)
    }

    fn delete_unused_launch_tokens(&self, of: LaunchTokensOf<'_>) -> Result<u64, StoreError> {
        self.delete_unused(of)
    }

    fn delete_launch_tokens(&self) -> Result<u64, StoreError> {
        self.execute("DELETE FROM launch_tokens", &[])
    }

    fn delete_not_before_marks_after(&self, at: UnixTime) -> Result<u64, StoreError> {
        self.delete_marks_after(at)
    }

    fn delete_expired(&self, until: UnixTime, nonces_until: UnixTime) -> Result<Pruned, StoreError> {
        self.prune(until, nonces_until)
    }

    #[cfg(test)]
    fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        self.session.batch(sql)
    }

    #[cfg(test)]
    fn round_trips(&self) -> u64 {
        self.session.round_trips()
    }
}

impl<'a> Transaction<'a> {
    pub(super) fn new(session: &'a Session, head: &'a Head) -> Self {
        Self { session, head }
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
