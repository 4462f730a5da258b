//! Health records.

use serde::Serialize;

use super::{Store, StoreError, rows_of};
use crate::PatientId;

/// Diagnosis, allergy or history.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    recorded_on: String,
    kind: String,
    text: String,
}

impl Store {
    /// Returns a patient's records, the oldest first.
    pub(crate) async fn records(&self, patient: PatientId) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT recorded_on, kind, text FROM records WHERE patient_id = ?1 ORDER BY recorded_on";
        self.run(move |connection| {
            rows_of(connection, sql, &patient, |row| {
                Ok(Record { recorded_on: row.get(0)?, kind: row.get(1)?, text: row.get(2)? })
            })
        })
        .await
    }

    pub(crate) async fn allergies(&self, patient: PatientId) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT text FROM records WHERE patient_id = ?1 AND kind = 'allergy'";
        self.run(move |connection| rows_of(connection, sql, &patient, |row| row.get(0))).await
    }
}
