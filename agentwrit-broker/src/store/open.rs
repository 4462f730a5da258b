//! Opens connections: what they promise, and what the database must be like.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::mpsc;

use super::{
    OpenError, Reader, StoreError, StoreOptions,
    files::{self, Claim},
    health::Health,
    schema,
    writer::{Message, Writer},
};

/// How many events at the end of the trail are verified at the start.
const VERIFIED_TAIL: u64 = 1000;
/// How long to wait for another process, such as a backup, to let go of the file.
const PATIENCE: Duration = Duration::from_secs(2);
const STATEMENTS: usize = 128;

const PRAGMAS: &str = "
    PRAGMA synchronous = FULL; -- a commit is on the disk when it returns
    PRAGMA fullfsync = ON; -- where `fsync` alone does not mean it
    PRAGMA foreign_keys = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA temp_store = MEMORY; -- savepoints leave nothing on the disk
    PRAGMA cache_size = -16384;
    PRAGMA wal_autocheckpoint = 0; -- the writer does it when it suits, after answering
    PRAGMA journal_size_limit = 67108864;
";

pub(super) fn writer(
    claim: Arc<Claim>,
    options: StoreOptions,
    queue: mpsc::Receiver<Message>,
    health: Arc<Health>,
) -> Result<Writer, OpenError> {
    let path = claim.path();
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::check(&connection, path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let cause = format!("the file system allows journal mode `{mode}` only, not `wal`");
        return Err(StoreError::Unavailable { cause }.into());
    }
    connection.execute_batch(PRAGMAS)?;
    schema::migrate(&mut connection)?;
    files::check_side_files(path)?;
    verify_trail(&Reader::new(&connection), options.accept_broken_audit)?;
    let head = Reader::new(&connection).trail_head()?;
    Ok(Writer { connection, head, queue, batch: options.batch.max(1), health, claim })
}

pub(super) fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -2048;")?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that don't depend on the parameters: SQLite would prepare many statements anew each time it binds them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(connection)
}

fn verify_trail(reader: &Reader<'_>, accept_broken: bool) -> Result<(), OpenError> {
    match reader.verify_tail(VERIFIED_TAIL)? {
        Ok(()) => Ok(()),
        Err(fault) if accept_broken => {
            tracing::warn!(component = "store", %fault, "going on with a broken audit trail, as told");
            Ok(())
        }
        Err(fault) => Err(OpenError::BrokenAudit { fault }),
    }
}
