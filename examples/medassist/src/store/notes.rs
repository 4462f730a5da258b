//! Clinical notes, never for billing.

use agentwrit_verify::{Permit, UnixTime};
use rusqlite::params;
use serde::Serialize;

use super::{Store, StoreError, rows_of};
use crate::PatientId;

/// Clinical note.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    pub(crate) id: i64,
    pub(crate) written_at: String,
    pub(crate) author: String,
    pub(crate) text: String,
}

impl Store {
    /// Returns a patient's notes, the newest first.
    pub(crate) async fn notes(&self, patient: PatientId) -> Result<Vec<Note>, StoreError> {
        let sql = "SELECT id, written_at, author, text FROM notes WHERE patient_id = ?1 ORDER BY id DESC";
        self.run(move |connection| {
            rows_of(connection, sql, &patient, |row| {
                Ok(Note { id: row.get(0)?, written_at: row.get(1)?, author: row.get(2)?, text: row.get(3)? })
            })
        })
        .await
    }

    /// Adds a note about the permit's patient, by the permit's subject.
    pub(crate) async fn add_note(&self, permit: &Permit, text: String, now: UnixTime) -> Result<Note, StoreError> {
        let patient = permit.scope().identifier().to_owned();
        let mut note = Note { id: 0, written_at: now.to_rfc3339(), author: permit.subject().to_string(), text };
        self.run(move |connection| {
            let sql = "INSERT INTO notes (patient_id, written_at, author, text) VALUES (?1, ?2, ?3, ?4)";
            connection.prepare_cached(sql)?.execute(params![patient, note.written_at, note.author, note.text])?;
            note.id = connection.last_insert_rowid();
            Ok(note)
        })
        .await
    }
}
