//! A connection to PostgreSQL, driven by the thread that uses it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    time::Duration,
};

use agentwrit_verify::UnixTime;
use futures_util::{TryStreamExt, future::try_join_all};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement, types::ToSql};

use super::{
    codec::{get, time},
    connect::{FIRST_CONNECT_LIMIT, RECONNECT_LIMIT, Server, Warned},
    head,
    query::Query,
    value::Value,
};
use crate::store::{OpenError, StoreError};

/// Time limit for a response to a statement that may change or read many rows. A server that is stopped keeps its
/// connections.
const RESPONSE_LIMIT: Duration = Duration::from_secs(30);
/// Time limit for a response to a statement that neither waits for a lock nor reads much.
pub(super) const SHORT_LIMIT: Duration = Duration::from_secs(2);
/// Time limit for a commit, which may wait for a synchronous standby.
pub(super) const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// Settings on which it depends whether commits can be lost.
const SERVER_SETTINGS: &str = "SELECT current_setting('fsync'), pg_is_in_recovery(), \
     current_setting('default_transaction_read_only'), current_setting('full_page_writes'), \
     current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication), \
     current_setting('server_encoding')";

/// A prepared statement and its parameters.
pub(super) struct Request<'q> {
    statement: Statement,
    values: Vec<&'q (dyn ToSql + Sync)>,
}

impl Request<'_> {
    /// Executes the statement. It is sent when the future is first polled.
    pub(super) fn send(&self, client: &Client) -> impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>> {
        client.query(&self.statement, &self.values)
    }
}
/// Reason why a connection can't be used whose statements are executed by one process of the server and then another.
pub(super) const POOLED: &str = "AA_DATABASE_URL leads to a pooler in transaction mode, which mixes the prepared statements of its \
     clients: use its session mode";

/// A connection to PostgreSQL. Blocks the thread that uses it, which must be none of an asynchronous runtime's own.
pub(super) struct Session {
    client: Client,
    warned: Warned,
    /// Number of the server's process.
    process: Option<String>,
    /// Set when a response did not arrive in time: the connection must not be used any more.
    abandoned: Cell<bool>,
    /// Time limit for each response.
    limit: Duration,
    statements: RefCell<HashMap<String, Statement>>,
    #[cfg(test)]
    round_trips: Cell<u64>,
    /// None after the drop only.
    runtime: Option<Runtime>,
}

impl Session {
    pub(super) fn open(server: &Server) -> Result<Self, StoreError> {
        Self::connect(server, FIRST_CONNECT_LIMIT)
    }

    /// Opens a connection in place of one that failed.
    pub(super) fn reopen(server: &Server) -> Result<Self, StoreError> {
        Self::connect(server, RECONNECT_LIMIT)
    }

    fn connect(server: &Server, limit: Duration) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Unavailable { cause: error.to_string() })?;
        let (client, warned) = runtime.block_on(server.connect(limit))?;
        let mut session = Self {
            client,
            warned,
            process: None,
            abandoned: Cell::new(false),
            limit: RESPONSE_LIMIT,
            statements: RefCell::default(),
            #[cfg(test)]
            round_trips: Cell::new(0),
            runtime: Some(runtime),
        };
        session.process = session.backend()?;
        #[cfg(test)]
        session.round_trips.set(0);
        Ok(session)
    }

    /// Sets the time limit for each response.
    pub(super) fn limited_to(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Rejects a pooler that hands the server's connections on after each transaction. The statements that one session
    /// prepares would be those of another one then, which has others by the same names.
    pub(super) fn check_pooling(&self, server: &Server) -> Result<(), OpenError> {
        let other = Self::open(server)?;
        if other.process == self.process || self.backend()? != self.process {
            return Err(OpenError::Database { cause: POOLED.to_owned() });
        }
        Ok(())
    }

    /// Returns the number of the server's process, without a prepared statement.
    fn backend(&self) -> Result<Option<String>, StoreError> {
        Ok(process_of(&self.wait_for(SHORT_LIMIT, self.client.simple_query("SELECT pg_backend_pid()"))?))
    }

    /// Rejects a server that would lose commits or can't be written. Logs warnings about one that may lose some.
    pub(super) fn check_server(&self) -> Result<(), OpenError> {
        let rejected = |cause: &str| Err(OpenError::Database { cause: cause.to_owned() });
        let rows = self.rows(SERVER_SETTINGS, &[])?;
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
        if get::<&str>(row, 2)? == "on" {
            return rejected(
                "`default_transaction_read_only` is on for this role or database: turn it off, or name the primary",
            );
        }
        if get::<&str>(row, 6)? != "UTF8" {
            return rejected(
                "the database cannot hold every text: create it with `ENCODING 'UTF8' TEMPLATE template0`",
            );
        }
        if get::<&str>(row, 3)? != "on" {
            tracing::warn!(
                component = "store",
                "the server runs with `full_page_writes=off`: a crash can damage the database unless its file system prevents it"
            );
        }
        let (standbys, synchronous): (i64, &str) = (get(row, 5)?, get(row, 4)?);
        if standbys > 0 && synchronous.is_empty() {
            tracing::warn!(
                component = "store",
                standbys,
                "the server has standbys and `synchronous_standby_names` is empty: if one of them is promoted, commits that \
                 were acknowledged are lost, and everything issued is revoked"
            );
        }
        Ok(())
    }

    /// Checks that a transaction has begun in the same process as the ones before it. `responses` are those to statements
    /// of which the first that returns rows is `SELECT pg_backend_pid()`.
    pub(super) fn check_process(&self, responses: &[SimpleQueryMessage]) -> Result<(), StoreError> {
        if process_of(responses) == self.process {
            return Ok(());
        }
        self.abandoned.set(true);
        Err(StoreError::Unavailable { cause: POOLED.to_owned() })
    }

    /// Returns the time of the server.
    pub(super) fn time(&self) -> Result<UnixTime, StoreError> {
        let rows = self.rows(head::TIME, &[])?;
        rows.first().map_or_else(|| Err(StoreError::internal("the server returned no time")), |row| time(row, 0))
    }

    /// Returns the time of the latest job.
    pub(super) fn last_time(&self) -> Result<UnixTime, StoreError> {
        let rows = self.rows(head::LAST_TIME, &[])?;
        rows.first().map_or_else(|| Err(StoreError::corrupt("the table `head` has no row")), |row| time(row, 0))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.abandoned.get() || self.client.is_closed()
    }

    /// Runs requests to the end. Requests whose futures are first polled together are sent together.
    pub(super) fn wait<T, E>(&self, requests: impl Future<Output = Result<T, E>>) -> Result<T, StoreError>
    where
        StoreError: From<E>,
    {
        self.wait_for(self.limit, requests)
    }

    /// Runs requests to the end, or until `limit`: then the connection counts as closed.
    pub(super) fn wait_for<T, E>(
        &self,
        limit: Duration,
        requests: impl Future<Output = Result<T, E>>,
    ) -> Result<T, StoreError>
    where
        StoreError: From<E>,
    {
        #[cfg(test)]
        self.round_trips.update(|count| count.saturating_add(1));
        let runtime = self.runtime.as_ref().ok_or_else(StoreError::closed)?;
        let response = runtime.block_on(async { timeout(limit, requests).await });
        Ok(response.map_err(|_| self.abandon(limit))??)
    }

    fn abandon(&self, limit: Duration) -> StoreError {
        self.abandoned.set(true);
        StoreError::Unavailable { cause: format!("the database did not respond within {} s", limit.as_secs()) }
    }

    /// Returns whether the server sent a warning since the last call.
    pub(super) fn take_warned(&self) -> bool {
        self.warned.take()
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns a statement, which is prepared once.
    pub(super) fn statement(&self, sql: &str) -> Result<Statement, StoreError> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let prepared = self.wait_for(SHORT_LIMIT, self.client.prepare(sql))?;
        self.statements.borrow_mut().insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }

    /// Executes statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Executes statements together. Returns the rows of each.
    pub(super) fn pipeline(&self, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, StoreError> {
        let requests = self.requests(queries)?;
        self.wait(try_join_all(requests.iter().map(|request| request.send(&self.client))))
    }

    /// Prepares requests, to be sent with others.
    pub(super) fn requests<'q>(&self, queries: &'q [Query<'_>]) -> Result<Vec<Request<'q>>, StoreError> {
        let request = |query: &'q Query<'_>| {
            let statement = self.statement(&query.sql)?;
            Ok(Request { statement, values: query.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect() })
        };
        queries.iter().map(request).collect()
    }

    /// Number of times that this connection waited for the server.
    #[cfg(test)]
    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.get()
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
        let runtime = self.runtime.as_ref().ok_or_else(StoreError::closed)?;
        runtime.block_on(async {
            let late = |_| self.abandon(self.limit);
            let rows = timeout(self.limit, self.client.query_raw(&statement, values)).await.map_err(late)?;
            let mut rows = Box::pin(rows?);
            while let Some(row) = timeout(self.limit, rows.try_next()).await.map_err(late)?? {
                visit(&row)?;
            }
            Ok(())
        })
    }

    /// Returns the number of rows that a statement changed.
    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.wait(self.client.execute(&statement, &values))
    }
}

/// Returns the first column of the first row.
fn process_of(responses: &[SimpleQueryMessage]) -> Option<String> {
    let row = |response: &SimpleQueryMessage| {
        if let SimpleQueryMessage::Row(row) = response { row.get(0).map(str::to_owned) } else { None }
    };
    responses.iter().find_map(row)
}

/// Limits the time for the first of several responses that are waited for together: the server responds at all.
pub(super) async fn promptly<T>(
    response: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    let silent = |_| StoreError::Unavailable { cause: "the database does not respond".to_owned() };
    Ok(timeout(SHORT_LIMIT, response).await.map_err(silent)??)
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
