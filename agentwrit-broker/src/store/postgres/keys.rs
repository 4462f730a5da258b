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
        StoreError,
        codec::{micros, signed},
        keys::{ReadKeys, columns},
    },
};

const SELECT: &str = concat!("SELECT ", columns!(), " FROM signing_keys ORDER BY created_at, kid");
const PUT: &str = concat!(
    "INSERT INTO signing_keys (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (kid) DO UPDATE SET purpose = excluded.purpose, \
     public = excluded.public, sealed = excluded.sealed, state = excluded.state, created_at = excluded.created_at, \
     activates_at = excluded.activates_at, activated_at = excluded.activated_at, retire_at = excluded.retire_at, \
     changed_at = excluded.changed_at, cursor = excluded.cursor"
);

impl ReadKeys for Transaction<'_> {
    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        read(self.session())
    }
}

/// Returns all keys, in the order of their creation.
pub(super) fn read(session: &Session) -> Result<Vec<StoredKey>, StoreError> {
    session.rows(SELECT, values![])?.iter().map(key).collect()
}

/// Adds a key, or replaces the row of the same id.
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
    session.execute(PUT, values).map(|_| ())
}

fn key(row: &Row) -> Result<StoredKey, StoreError> {
    Ok(StoredKey {
        kid: get(row, 0)?,
        purpose: known(row, 1, KeyPurpose::parse)?,
        public: optional_bytes(row, 2)?,
        sealed: get(row, 3)?,
        state: known(row, 4, KeyState::parse)?,
        created_at: time(row, 5)?,
        activates_at: optional_time(row, 6)?,
        activated_at: optional_time(row, 7)?,
        retire_at: optional_time(row, 8)?,
        changed_at: time(row, 9)?,
        cursor: unsigned(row, 10)?,
    })
}

fn known<T>(row: &Row, column: usize, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
    let text: &str = get(row, column)?;
    parse(text).ok_or_else(|| StoreError::corrupt(format!("`{text}` in column {column} of a key is unknown")))
}
