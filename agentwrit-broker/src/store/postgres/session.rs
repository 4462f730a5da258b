//! A connection to PostgreSQL, driven by the thread that uses it.

use std::{cell::RefCell, collections::HashMap, fmt};

use agentwrit_verify::UnixTime;
use futures_util::TryStreamExt;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Row, Statement, types::ToSql};

use super::{
    codec::{get, time},
    connect::Server,
    head,
    value::Value,
};
use crate::store::{OpenError, StoreError};

/// A connection to PostgreSQL. Blocks the thread that uses it, which must be none of an asynchronous runtime's own.
pub(super) struct Session {
    client: Client,
    statements: RefCell<HashMap<String, Statement>>,
    /// None after the drop only.
    runtime: Option<Runtime>,
}

impl Session {
    pub(super) fn open(server: &Server) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Unavailable { cause: error.to_string() })?;
        let client = runtime.block_on(server.connect())?;
        Ok(Self { client, statements: RefCell::default(), runtime: Some(runtime) })
    }

    /// Rejects a server that would lose commits or can't be written.
    pub(super) fn check_server(&self) -> Result<(), OpenError> {
        let rejected = |cause: &str| Err(OpenError::Database { cause: cause.to_owned() });
        let rows = self.rows("SELECT current_setting('fsync'), pg_is_in_recovery()", &[])?;
        let Some(row) = rows.first() else { return rejected("the server returned no settings") };
        let (fsync, standby): (&str, bool) = (get(row, 0)?, get(row, 1)?);
        if fsync != "on" {
            return rejected("the server runs with `fsync=off` and would lose commits: turn it on");
        }
        if standby {
            return rejected(
                "the server is a standby: name the primary, or all hosts with `target_session_attrs=read-write`",
            );
        }
        Ok(())
    }

    /// Returns the time of the server.
    pub(super) fn time(&self) -> Result<UnixTime, StoreError> {
        let rows = self.rows(head::TIME, &[])?;
        rows.first().map_or_else(|| Err(StoreError::internal("the server returned no time")), |row| time(row, 0))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs requests to the end. Requests whose futures are first polled together are sent together.
    pub(super) fn wait<T, E>(&self, requests: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
    where
        StoreError: From<E>,
    {
        let runtime = self.runtime.as_ref().ok_or_else(StoreError::closed)?;
        Ok(runtime.block_on(requests)?)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns a statement, which is prepared once.
    pub(super) fn statement(&self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let prepared = self.wait(self.client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    /// Executes statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.client.batch_execute(sql))
    }

    pub(super) fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.wait(self.client.query(&statement, &values))
    }

    /// Visits rows as they arrive.
    pub(super) fn each(
        &self,
        sql: &str,
        values: &[Value],
        mut visit: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let statement = self.statement(sql)?;
        self.wait(async {
            let mut rows = Box::pin(self.client.query_raw(&statement, values).await?);
            while let Some(row) = rows.try_next().await? {
                visit(&row)?;
            }
            Ok::<_, StoreError>(())
        })
    }

    /// Returns the number of rows that a statement changed.
    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.wait(self.client.execute(&statement, &values))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A runtime that is dropped by a task of another runtime would panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
