//! Reads every row of a database, to copy it into another store.

use std::{path::Path, sync::Arc};

use agentwrit_verify::{
    SystemClock,
    audit::{ChainHead, ChainLink, ChainVerifier},
};
use rusqlite::{Connection, types::ValueRef};

use super::{files::Claim, open, transaction::Transaction, writer::WriteConnection};
use crate::{
    domain::StoredKey,
    store::{
        OpenError, StoreError,
        audit_log::ReadAudit,
        copied_tables::{StoreHead, Table},
        keys::ReadKeys,
        pending::Kind,
        value::Value,
    },
};

/// Number of events that are verified at a time.
const PAGE: u64 = 1000;

/// A database that no broker uses, nor can until this value is dropped.
#[derive(Debug)]
pub(in crate::store) struct Export {
    connection: Connection,
    /// Dropped last: see [`Claim`].
    _writer: WriteConnection,
}

impl Export {
    /// Locks the database at `path`, brings its schema up to date and verifies the end of its trail.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, OpenError> {
        let claim = Arc::new(Claim::take(path)?);
        let (writer, _) = open::writer(Arc::clone(&claim), &[], Arc::new(SystemClock))?;
        Ok(Self { connection: open::read_only(claim.path())?, _writer: writer })
    }

    /// Verifies the whole audit trail. Returns its last event.
    pub(in crate::store) fn verify_trail(&self) -> Result<ChainHead, OpenError> {
        let transaction = Transaction::new(&self.connection);
        let mut verifier = ChainVerifier::new(ChainHead::GENESIS);
        loop {
            let events = transaction.audit_events_after(verifier.head().sequence, PAGE)?;
            for event in &events {
                verifier.follow(&ChainLink::of(event)).map_err(|fault| StoreError::corrupt(fault.to_string()))?;
            }
            if (events.len() as u64) < PAGE {
                break;
            }
        }
        let breaks = verifier.open().to_vec();
        if breaks.is_empty() { Ok(verifier.head()) } else { Err(OpenError::BrokenAudit { breaks }) }
    }

    /// Returns the keys, whose secrets are in files.
    pub(in crate::store) fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        Transaction::new(&self.connection).signing_keys()
    }

    /// Visits the rows of a table.
    pub(in crate::store) fn visit(
        &self,
        table: &Table,
        visit: &mut dyn FnMut(Vec<Value<'static>>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let sql = format!("SELECT {} FROM {} ORDER BY {}", table.column_list(), table.name, table.order);
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let values = table.columns().enumerate().map(|(index, (_, kind))| {
                let value = value(row.get_ref(index)?, kind);
                value.ok_or_else(|| StoreError::corrupt(format!("column {index} of `{}` can't be read", table.name)))
            });
            visit(values.collect::<Result<_, StoreError>>()?)?;
        }
        Ok(())
    }

    /// Returns what is not in the tables, with the verified end of the trail.
    pub(in crate::store) fn head(&self, trail: ChainHead) -> Result<StoreHead, StoreError> {
        let sql = "SELECT epoch, certain_time, nonces_forgotten_until, \
                   ifnull((SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1), 0), \
                   max(keys_cursor, ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'revocations'), 0)), \
                   ifnull((SELECT max(id) FROM names), 0), \
                   ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'launch_tokens'), 0), keys_cursor FROM meta";
        Ok(self.connection.query_row(sql, [], |row| {
            Ok(StoreHead {
                epoch: row.get(0)?,
                certain_time: row.get(1)?,
                nonces_forgotten_until: row.get(2)?,
                trail,
                trail_at: row.get(3)?,
                cursor: row.get(4)?,
                last_name: row.get(5)?,
                last_launch: row.get(6)?,
                keys_cursor: row.get(7)?,
            })
        })?)
    }
}

/// Returns none for a value of another type than the column's.
fn value(value: ValueRef<'_>, kind: Kind) -> Option<Value<'static>> {
    match (value, kind) {
        (ValueRef::Null, _) => Some(Value::Null),
        (ValueRef::Integer(number), Kind::Integer) => Some(number.into()),
        (ValueRef::Integer(number), Kind::Boolean) => Some((number != 0).into()),
        (ValueRef::Text(text), Kind::Text) => std::str::from_utf8(text).ok().map(|text| text.to_owned().into()),
        (ValueRef::Blob(bytes), Kind::Bytes) => Some(Value::Bytes(bytes.to_vec().into())),
        _ => None,
    }
}
