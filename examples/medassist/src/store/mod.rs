//! What the hospital keeps, in an embedded SQLite. All SQL is here, a file per resource.
//!
//! 1. The database lives in memory and starts with the made-up patients of `made_up.sql`.
//! 2. Queries run on the threads for blocking work: none holds up the requests of others but by the lock.
//! 3. Whatever a request brings is bound as a parameter; no text of it becomes SQL.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

pub(crate) mod billing;
pub(crate) mod formulary;
pub(crate) mod labs;
pub(crate) mod notes;
pub(crate) mod patients;
pub(crate) mod prescriptions;
pub(crate) mod records;

#[expect(clippy::disallowed_types, reason = "the hospital's own store, which has nothing to do with the broker's")]
type Connection = rusqlite::Connection;

/// The hospital's database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// A new hospital with the made-up patients.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when SQLite cannot make it.
    pub fn with_made_up_patients() -> Result<Self, StoreError> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(include_str!("schema.sql"))?;
        connection.execute_batch(include_str!("made_up.sql"))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        // A query that panicked left no half of a statement behind: each is one statement, which SQLite undoes.
        let work = move || query(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?.map_err(StoreError::Sqlite)
    }
}

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite says why.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The query ended without a result.
    #[error("the query was interrupted")]
    Interrupted,
}

/// Every row of a query about one patient.
fn rows_of<T>(
    connection: &Connection,
    sql: &str,
    patient: &crate::PatientId,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map([patient.as_str()], read)?.collect()
}
