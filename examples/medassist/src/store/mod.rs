//! The hospital's database, an embedded SQLite. All SQL is here, in a file per resource.
//!
//! 1. The database is in memory and starts with the fictional patients of `made_up.sql`.
//! 2. Queries run on threads for blocking work.
//! 3. Every value of a request is bound as a parameter.

use std::sync::{Arc, Mutex, PoisonError};

use demo_common::service::ServiceError;
use tokio::task::spawn_blocking;

pub(crate) mod billing;
pub(crate) mod formulary;
pub(crate) mod insurance;
pub(crate) mod interactions;
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
    /// Creates a database with the fictional patients.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when SQLite cannot create it.
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
        // A panic leaves no partial change: each query is one statement or one transaction, which SQLite rolls back.
        let work = move || query(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?.map_err(StoreError::Sqlite)
    }
}

/// Error of a query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// SQLite failed.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The query ended without a result.
    #[error("the query was interrupted")]
    Interrupted,
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, cause, "the store failed");
        Self::Internal
    }
}

/// Returns every row of a query about one patient.
fn rows_of<T>(
    connection: &Connection,
    sql: &str,
    patient: &crate::PatientId,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map([patient.as_str()], read)?.collect()
}
