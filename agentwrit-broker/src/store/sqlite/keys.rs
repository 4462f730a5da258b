//! The broker's keys.

use rusqlite::{Row, params};

use super::{
    codec::{optional_time, parsed_option, time, unsigned},
    transaction::Transaction,
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
    "INSERT OR REPLACE INTO signing_keys (",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
);

impl ReadKeys for Transaction<'_> {
    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.list(SELECT, [], key)
    }

    fn keys_cursor(&self) -> Result<u64, StoreError> {
        self.single("SELECT keys_cursor FROM meta", [], |row| unsigned(row, 0))
    }
}

impl Transaction<'_> {
    pub(super) fn put_key(&self, key: &StoredKey) -> Result<(), StoreError> {
        let StoredKey { kid, purpose, public, sealed, state, .. } = key;
        self.execute(
            PUT,
            params![
                kid,
                purpose.as_str(),
                public,
                sealed,
                state.as_str(),
                micros(key.created_at),
                key.activates_at.map(micros),
                key.activated_at.map(micros),
                key.retire_at.map(micros),
                micros(key.changed_at),
                signed(key.cursor),
            ],
        )
        .map(|_| ())
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    Ok(StoredKey {
        kid: row.get(0)?,
        purpose: parsed_option(row, 1, KeyPurpose::parse)?,
        public: row.get(2)?,
        sealed: row.get(3)?,
        state: parsed_option(row, 4, KeyState::parse)?,
        created_at: time(row, 5)?,
        activates_at: optional_time(row, 6)?,
        activated_at: optional_time(row, 7)?,
        retire_at: optional_time(row, 8)?,
        changed_at: time(row, 9)?,
        cursor: unsigned(row, 10)?,
    })
}
