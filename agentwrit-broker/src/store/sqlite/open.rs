//! Opens connections, sets their durability and checks the database.

use std::{path::Path, sync::Arc, time::Duration};

use agentwrit_verify::{
    Clock,
    audit::{ChainBreak, ChainBreakId},
};
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    files::{self, Claim},
    schema,
    transaction::Transaction,
    writer::WriteConnection,
};
use crate::store::{OpenError, StoreError, acceptance};

/// Timeout for a lock on the file that another process holds, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Capacity of the cache of prepared statements.
const STATEMENT_CACHE: usize = 128;

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

/// Opens the writer's connection. Returns also the accepted breaks of the audit trail that no event records yet.
pub(super) fn writer(
    claim: Arc<Claim>,
    accept: &[ChainBreakId],
    clock: Arc<dyn Clock>,
) -> Result<(WriteConnection, Vec<ChainBreak>), OpenError> {
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
    let accepted = acceptance::verify_trail(&Transaction::new(&connection), accept)?;
    Ok((WriteConnection::new(connection, claim, clock), accepted))
}

pub(super) fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -2048;")?;
    Ok(connection)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // Plans that don't depend on the parameters: SQLite would prepare many statements anew each time it binds them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(connection)
}
