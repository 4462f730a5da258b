//! Examines a database without changing it: nothing is written, no file is created. What a broker that crashed left in the
//! write-ahead log is read as the next start reads it.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use agentwrit_verify::audit::ChainBreakId;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{files, schema, transaction::Transaction};
use crate::{
    domain::StoredKey,
    store::{OpenError, acceptance, keys::ReadKeys},
};

/// State of a database before a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    /// Nothing: the start makes a database.
    Missing,
    /// A database of this broker, whose recent audit trail is intact.
    Verified,
    /// A database of an earlier version of this broker. The next start brings it up to date and verifies it.
    Older,
    /// A broker runs on it.
    InUse,
}

/// Examines the database at `path`, which this process must not have open: closing a handle of it would drop its locks.
///
/// # Errors
///
/// [`OpenError`], as a start would report it.
pub(crate) fn probe(path: &Path, accepted: &[ChainBreakId]) -> Result<DatabaseState, OpenError> {
    examine(path, |connection| {
        acceptance::accepted(&acceptance::walk_end(&Transaction::new(connection))?, accepted)?;
        Ok(DatabaseState::Verified)
    })
    .map(|examined| examined.unwrap_or_else(|state| state))
}

/// Returns the keys of the database at `path`; `None` if there is none, a broker runs on it, or the next start brings it up to
/// date first. This process must not have it open.
///
/// # Errors
///
/// [`OpenError`], as a start would report it.
pub(crate) fn probe_keys(path: &Path) -> Result<Option<Vec<StoredKey>>, OpenError> {
    examine(path, |connection| Ok(Transaction::new(connection).signing_keys()?)).map(Result::ok)
}

/// Reads a database of this version that no broker runs on. Of any other one, returns its state as the error within.
fn examine<T>(
    path: &Path,
    read: impl FnOnce(&Connection) -> Result<T, OpenError>,
) -> Result<Result<T, DatabaseState>, OpenError> {
    let path = &files::canonical(path).map_err(|error| OpenError::io(path, &error))?;
    files::check_side_files(path)?;
    let [_, log, _, lock] = files::all(path);
    let Some(database) = existing(path)? else { return Ok(Err(DatabaseState::Missing)) };
    let lock = existing(&lock)?;
    let is_locked = |file: &File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    if is_locked(&database) || lock.as_ref().is_some_and(is_locked) {
        return Ok(Err(DatabaseState::InUse));
    }
    files::check_links_of_all(path)?;
    let has_log = log.metadata().is_ok_and(|metadata| metadata.len() > 0);
    let connection = if has_log { with_log(path)? } else { immutable(path)? };
    schema::check(&connection, path)?;
    if !schema::is_current(&connection)? {
        return Ok(Err(DatabaseState::Older));
    }
    read(&connection).map(Ok)
}

fn existing(path: &Path) -> Result<Option<File>, OpenError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io(path, &error)),
    }
}

/// A connection that takes no lock and makes no side file. It ignores the write-ahead log, which must be empty.
fn immutable(path: &Path) -> Result<Connection, OpenError> {
    open_read_only(path, "immutable=1")
}

/// A connection that reads the write-ahead log too, which must not be empty. It takes no lock of SQLite's own, keeps the index of
/// the log in memory instead of a file, and leaves the log as it is when it is closed.
fn with_log(path: &Path) -> Result<Connection, OpenError> {
    let connection = open_read_only(path, "vfs=unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    Ok(connection)
}

fn open_read_only(path: &Path, parameter: &str) -> Result<Connection, OpenError> {
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(format!("file:{path}?{parameter}"), flags)?)
}
