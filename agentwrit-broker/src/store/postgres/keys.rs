//! The brokers' keys.

use tokio_postgres::Row;

use super::{
    codec::{get, optional_bytes, optional_time, time, unsigned},
    session::Session,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{KeyPurpose, KeyState, StoredKey},
    store::{
        KeysVersion, StoreError,
        codec::{micros, signed},
        keys::{ReadKeys, columns},
    },
};

/// Columns of a key, and the cursors of its retirement and its withdrawal.
macro_rules! select {
    () => {
        concat!(
            "SELECT ",
            columns!(),
            ", (SELECT cursor FROM ended_keys WHERE kid = signing_keys.kid AND state = 'retired') AS retired, \
             (SELECT cursor FROM ended_keys WHERE kid = signing_keys.kid AND state = 'withdrawn') AS withdrawn \
             FROM signing_keys"
        )
    };
}

const SELECT: &str = concat!(select!(), " ORDER BY created_at, kid");
/// Reads all keys, if `$1` and `$2` are not the log and the cursor of their latest change; never if they are NULL.
pub(super) const CHANGED: &str = concat!(
    "SELECT head.epoch, head.keys_cursor, keys.* FROM head, (",
    select!(),
    ") AS keys WHERE head.one = 1 AND (head.epoch <> $1 OR head.keys_cursor <> $2) \
     ORDER BY keys.created_at, keys.kid"
);
/// Writes the row of a key. Its id, purpose and public half stay: brokers have no right to change them.
const PUT: &str = concat!(
    "INSERT INTO signing_keys (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (kid) DO UPDATE SET \
     sealed = excluded.sealed, state = excluded.state, activates_at = excluded.activates_at, activated_at = excluded.activated_at, retire_at = excluded.retire_at, \
     changed_at = excluded.changed_at, cursor = excluded.cursor"
);
const END: &str = "INSERT INTO ended_keys (kid, state, cursor) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

impl ReadKeys for Transaction<'_> {
    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        read(self.session())
    }

    fn keys_cursor(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.head().keys_cursor).unwrap_or(0))
    }
}

/// Returns all keys, in the order of their creation.
pub(super) fn read(session: &Session) -> Result<Vec<StoredKey>, StoreError> {
    session.rows(SELECT, values![])?.iter().map(|row| key(row, 0)).collect()
}

/// Keys that [`CHANGED`] read, with their latest change.
#[derive(Debug)]
pub(super) struct ChangedKeys {
    pub(super) rows: Vec<StoredKey>,
    pub(super) version: KeysVersion,
}

impl ChangedKeys {
    /// Returns none if the keys are those that are known.
    pub(super) fn read(rows: &[Row]) -> Result<Option<Self>, StoreError> {
        let Some(first) = rows.first() else { return Ok(None) };
        let version = KeysVersion { epoch: get::<&str>(first, 0)?.into(), cursor: unsigned(first, 1)? };
        let rows = rows.iter().map(|row| key(row, 2)).collect::<Result<_, _>>()?;
        Ok(Some(Self { rows, version }))
    }
}

/// Adds a key, or replaces the row of the same id. The end of a key is recorded where no broker changes it.
pub(super) fn put(session: &Session, key: &StoredKey) -> Result<(), StoreError> {
    let StoredKey { kid, purpose, public, sealed, state, .. } = key;
    let values = values![
        kid,
        purpose.as_str(),
        *public,
        sealed.as_slice(),
        state.as_str(),
        key.created_at,
        key.activates_at.map(micros),
        key.activated_at.map(micros),
        key.retire_at.map(micros),
        key.changed_at,
        signed(key.cursor),
    ];
    session.execute(PUT, values)?;
    if !state.is_published() {
        session.execute(END, values![kid, state.as_str(), signed(key.cursor)])?;
    }
    Ok(())
}

/// Reads a key, whose columns begin at `first`.
fn key(row: &Row, first: usize) -> Result<StoredKey, StoreError> {
    let column = |number: usize| first.saturating_add(number);
    // The row may have been put back as it was before the key ended.
    let ended = |number| get::<Option<i64>>(row, column(number)).map(|at| at.map(|at| u64::try_from(at).unwrap_or(0)));
    let (retired, withdrawn) = (ended(11)?, ended(12)?);
    let cursor = unsigned(row, column(10))?;
    let state = match (withdrawn, retired, known(row, column(4), KeyState::parse)?) {
        (Some(_), ..) => KeyState::Withdrawn,
        (None, Some(_), state) if state != KeyState::Withdrawn => KeyState::Retired,
        (None, _, state) => state,
    };
    Ok(StoredKey {
        kid: get(row, column(0))?,
        purpose: known(row, column(1), KeyPurpose::parse)?,
        public: optional_bytes(row, column(2))?,
        sealed: get(row, column(3))?,
        state,
        created_at: time(row, column(5))?,
        activates_at: optional_time(row, column(6))?,
        activated_at: optional_time(row, column(7))?,
        retire_at: optional_time(row, column(8))?,
        changed_at: time(row, column(9))?,
        cursor: withdrawn.max(retired).unwrap_or(0).max(cursor),
    })
}

fn known<T>(row: &Row, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    let text: &str = get(row, column)?;
    parse(text).ok_or_else(|| StoreError::corrupt(format!("`{text}` in column {column} of a key is unknown")))
}
