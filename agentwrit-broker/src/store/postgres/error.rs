//! Errors of PostgreSQL as errors of the store.

use tokio_postgres::{Error, error::Severity};

use crate::store::{OpenError, StoreError};

/// Errors by which a transaction loses to another one: it may be repeated as a whole.
const CONFLICTS: [&str; 3] = ["40001", "40P01", "55P03"];
/// Errors of statements that another session has prepared.
const POOLED: [&str; 2] = ["26000", "42P05"];
/// Classes of SQLSTATE whose errors may pass without a change to the broker: connection, a read-only server, time limits of
/// transactions, transaction rollback, resources, operator's intervention, and system error.
const OUTAGES: [&str; 10] = ["08", "25006", "25P03", "25P04", "28", "3D", "40", "53", "57", "58"];

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Some(database) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
            return Self::Unavailable { cause: format!("{error}{cause}") };
        };
        let cause = format!("{} (SQLSTATE {})", database.message(), database.code().code());
        let code = database.code().code();
        if CONFLICTS.contains(&code) {
            return Self::Busy;
        }
        if POOLED.contains(&code) {
            return Self::Unavailable { cause: format!("{cause}: a pooler in transaction mode? use session mode") };
        }
        let ended = matches!(database.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        if ended || OUTAGES.iter().any(|class| code.starts_with(class)) {
            return Self::Unavailable { cause };
        }
        if code == "XX001" || code == "XX002" { Self::Corrupt { cause } } else { Self::Internal { cause } }
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Store(error.into())
    }
}
