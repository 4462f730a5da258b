//! Examines a database without changing it: nothing is written, no file is created.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

use agentwrit_verify::audit::ChainBreakId;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};

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
    /// A database whose write-ahead log holds changes, of a broker that crashed. The next start verifies it.
    Unverified,
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
    let path = &files::canonical(path).map_err(|error| OpenError::io(path, &error))?;
    files::check_side_files(path)?;
    let [_, log, _, lock] = files::all(path);
    let Some(database) = existing(path)? else { return Ok(DatabaseState::Missing) };
    let is_locked = |file: &File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    if is_locked(&database) || existing(&lock)?.as_ref().is_some_and(is_locked) {
        return Ok(DatabaseState::InUse);
    }
    files::check_links_of_all(path)?;
    if log.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(DatabaseState::Unverified);
    }
    let connection = immutable(path)?;
    schema::check(&connection, path)?;
    if !schema::is_current(&connection)? {
        return Ok(DatabaseState::Older);
    }
    acceptance::accepted(&acceptance::walk_end(&Transaction::new(&connection))?, accepted)?;
    Ok(DatabaseState::Verified)
}

/// Returns the keys of a database that was found [`DatabaseState::Verified`].
///
/// # Errors
///
/// [`OpenError`].
pub(crate) fn probe_keys(path: &Path) -> Result<Vec<StoredKey>, OpenError> {
    let path = &files::canonical(path).map_err(|error| OpenError::io(path, &error))?;
    Ok(Transaction::new(&immutable(path)?).signing_keys()?)
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
    let path = percent_encode(path.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?)
}
