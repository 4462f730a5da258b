//! Fills an empty database with the records of another store, in one transaction.

use std::{cell::RefCell, pin::Pin};

use agentwrit_verify::{
    UnixTime,
    audit::{ChainHead, EventHash},
};
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};

use super::{
    codec::{bytes, get, unsigned},
    connect::Server,
    keys, schema,
    session::Session,
    value::{Value, values},
};
use crate::{
    domain::StoredKey,
    store::{
        OpenError, StoreError,
        codec::signed,
        copied_tables::{StoreHead, TABLES, Table},
        pending::Kind,
    },
};

/// A copy takes longer than the session's limit for idle transactions allows between two statements.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0";
/// Locks the head row, so that no broker starts to write.
const IS_EMPTY: &str = "SELECT generation = 0 AND audit_seq = 0 AND last_name = 0 \
     AND NOT EXISTS (SELECT 1 FROM signing_keys) FROM head WHERE one = 1 FOR UPDATE";
const UPDATE_HEAD: &str = "UPDATE head SET generation = generation + 1, epoch = $1, audit_seq = $2, audit_hash = $3, \
     audit_at = $4, last_time = $4, cursor = $5, last_name = $6, last_launch = $7, certain_time = $8, \
     nonces_forgotten_until = $9, keys_cursor = $10 WHERE one = 1";
/// Number of rows that are sent at a time.
const ROWS: usize = 1000;

/// A transaction on an empty database. Dropping it before the commit undoes everything.
#[derive(Debug)]
pub(in crate::store) struct Import {
    session: Session,
}

impl Import {
    /// Creates the schema and begins. Returns none if the database has records.
    pub(in crate::store) fn begin(url: &str) -> Result<Option<Self>, OpenError> {
        let server = Server::parse(url)?;
        let session = Session::open(&server)?;
        session.check_server()?;
        schema::prepare(&session, &server.name())?;
        session.batch(BEGIN)?;
        let rows = session.rows(IS_EMPTY, values![])?;
        let is_empty = rows.first().map_or(Ok(false), |row| get(row, 0))?;
        Ok(is_empty.then_some(Self { session }))
    }

    pub(in crate::store) fn time(&self) -> Result<UnixTime, StoreError> {
        self.session.time()
    }

    /// Copies the rows that `rows` passes to its argument. Returns their number.
    pub(in crate::store) fn copy(
        &self,
        table: &Table,
        rows: impl FnOnce(&mut dyn FnMut(Vec<Value<'static>>) -> Result<(), StoreError>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let sql = format!("COPY {} ({}) FROM STDIN BINARY", table.name, table.column_list());
        let sink = self.session.wait(self.session.client().copy_in(&sql))?;
        let types: Vec<Type> = table.columns().map(|(_, kind)| sql_type(kind)).collect();
        let writer = RefCell::new(Box::pin(BinaryCopyInWriter::new(sink, &types)));
        let mut waiting: Vec<Vec<Value<'_>>> = Vec::with_capacity(ROWS);
        rows(&mut |row| {
            waiting.push(row);
            if waiting.len() < ROWS { Ok(()) } else { self.send(writer.borrow_mut().as_mut(), &mut waiting) }
        })?;
        self.send(writer.borrow_mut().as_mut(), &mut waiting)?;
        self.session.wait(writer.borrow_mut().as_mut().finish())
    }

    fn send(&self, mut writer: Pin<&mut BinaryCopyInWriter>, rows: &mut Vec<Vec<Value<'_>>>) -> Result<(), StoreError> {
        self.session.wait(async {
            for row in rows.drain(..) {
                writer.as_mut().write_raw(&row).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        })
    }

    /// Returns the number of rows of a table.
    pub(in crate::store) fn count(&self, table: &Table) -> Result<u64, StoreError> {
        let rows = self.session.rows(&format!("SELECT count(*) FROM {}", table.name), values![])?;
        rows.first().map_or(Ok(0), |row| unsigned(row, 0))
    }

    /// Reads the last event.
    pub(in crate::store) fn trail_head(&self) -> Result<ChainHead, StoreError> {
        let rows = self.session.rows("SELECT seq, hash FROM audit_events ORDER BY seq DESC LIMIT 1", values![])?;
        rows.first().map_or(Ok(ChainHead::GENESIS), |row| {
            Ok(ChainHead { sequence: unsigned(row, 0)?, hash: EventHash::from_bytes(bytes(row, 1)?) })
        })
    }

    /// Writes the head row and the keys, and commits. The first broker counts reports as kept from its start.
    pub(in crate::store) fn commit(self, head: &StoreHead, new_keys: &[StoredKey]) -> Result<(), StoreError> {
        let StoreHead { epoch, trail, trail_at, cursor, last_name, last_launch, .. } = head;
        let (certain_time, nonces_forgotten_until) = (head.certain_time, head.nonces_forgotten_until);
        new_keys.iter().try_for_each(|key| keys::put(&self.session, key))?;
        self.session.execute("UPDATE report_log SET server_started = 0 WHERE one = 1", values![])?;
        self.session.execute(
            UPDATE_HEAD,
            values![
                epoch,
                signed(trail.sequence),
                trail.hash.as_bytes(),
                *trail_at,
                *cursor,
                *last_name,
                *last_launch,
                certain_time,
                nonces_forgotten_until,
                head.keys_cursor,
            ],
        )?;
        self.session.batch("COMMIT").map_err(|error| StoreError::OutcomeUnknown { cause: error.to_string() })?;
        self.analyze();
        Ok(())
    }

    /// Collects statistics, without which the first queries scan.
    fn analyze(&self) {
        for table in TABLES {
            if let Err(error) = self.session.batch(&format!("ANALYZE {}", table.name)) {
                tracing::warn!(component = "store", table = table.name, %error, "run ANALYZE on the database");
            }
        }
    }
}

fn sql_type(kind: Kind) -> Type {
    match kind {
        Kind::Integer => Type::INT8,
        Kind::Boolean => Type::BOOL,
        Kind::Text => Type::TEXT,
        Kind::Bytes => Type::BYTEA,
    }
}
