//! Versions of the schema.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::{OpenError, StoreError};

/// Each brings the schema from its position in the list to the next version.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];
/// `AWrt`, which identifies the broker's databases.
const APPLICATION_ID: i64 = 0x4157_7274;

/// Rejects a database that is neither empty nor of a version that this broker supports.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(connection)?;
    let ours = pragma(connection, "application_id")? == APPLICATION_ID;
    let empty = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if !(ours || empty) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let supported = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > supported {
        return Err(OpenError::Newer { path: path.to_owned(), found, supported });
    }
    Ok(())
}

/// Returns true if the schema is up to date.
pub(super) fn is_current(connection: &Connection) -> Result<bool, StoreError> {
    Ok(usize::try_from(version(connection)?).is_ok_and(|version| version >= MIGRATIONS.len()))
}

/// Brings the schema up to date, in one transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = usize::try_from(version(&transaction)?).unwrap_or(0);
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    pragma(connection, "user_version")
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}
