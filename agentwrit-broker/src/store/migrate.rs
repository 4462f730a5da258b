//! Moves a broker's records from SQLite to PostgreSQL: all of them, or nothing.
//!
//! 1. The source is locked as by a broker, and its whole audit trail is verified before a row is copied.
//! 2. The target must be empty. Everything is copied in one transaction, which is committed after the number of rows of each
//!    table and the end of the trail were read back and are those of the source.
//! 3. Ids, cursors, numbers of events and the epoch stay the same, so that tokens stay valid and followers go on.

use std::path::Path;

use agentwrit_verify::UnixTime;

use super::{
    OpenError, StoreError,
    copied_tables::{TABLES, Table},
    postgres::Import,
    sqlite::Export,
};
use crate::{audit::ChainHead, domain::StoredKey};

/// Records that were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Last event of the trail.
    pub(crate) trail: ChainHead,
    /// Identifier of the revocation log.
    pub(crate) epoch: String,
    /// Cursor of the latest revocation ever.
    pub(crate) cursor: u64,
    /// Number of rows of each table.
    pub(crate) rows: Vec<(&'static str, u64)>,
}

/// Copies the SQLite database at `source`, which must exist, and its keys, sealed, to the PostgreSQL database at `target`. Blocks the
/// thread.
///
/// # Errors
///
/// [`MigrationError`], and nothing was copied, except after [`StoreError::OutcomeUnknown`].
pub(crate) fn migrate<E>(
    source: &Path,
    target: &str,
    seal_keys: impl FnOnce(&[StoredKey], UnixTime) -> Result<Vec<StoredKey>, E>,
) -> Result<Copied, MigrationError<E>> {
    let export = Export::open(source)?;
    let trail = export.verify_trail()?;
    let import = Import::begin(target)?.ok_or(MigrationError::NotEmpty)?;
    let copy = |table: &'static Table| -> Result<_, StoreError> {
        let copied = import.copy(table, |insert| export.visit(table, insert))?;
        if import.count(table)? == copied { Ok((table.name, copied)) } else { Err(incomplete(table.name)) }
    };
    let rows = TABLES.iter().map(copy).collect::<Result<Vec<_>, _>>()?;
    let keys = seal_keys(&export.signing_keys()?, import.time()?).map_err(MigrationError::Keys)?;
    let head = export.head(trail)?;
    if import.trail_head()? != trail {
        return Err(incomplete("audit_events").into());
    }
    let cursor =
        u64::try_from(head.cursor).map_err(|_| StoreError::corrupt(format!("`{}` is no cursor", head.cursor)))?;
    import.commit(&head, &keys)?;
    Ok(Copied { trail, epoch: head.epoch, cursor, rows })
}

fn incomplete(table: &str) -> StoreError {
    StoreError::internal(format!("the copy of `{table}` differs from the source"))
}

/// Reason that nothing was copied.
#[derive(Debug)]
pub(crate) enum MigrationError<E> {
    Open(OpenError),
    /// The target holds records.
    NotEmpty,
    /// No keys could be made.
    Keys(E),
}

impl<E> From<OpenError> for MigrationError<E> {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl<E> From<StoreError> for MigrationError<E> {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}
