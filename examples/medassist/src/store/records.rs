//! Health records.

use rusqlite::Row;
use serde::Serialize;

use super::{Store, StoreError, rows_of};
use crate::PatientId;

/// Diagnosis, allergy or history.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Record {
    recorded_on: String,
    kind: String,
    text: String,
    /// Code of ICD-10-CM.
    icd10: Option<String>,
}

/// Visit with the vital signs.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Visit {
    visited_on: String,
    provider: String,
    complaint: String,
    pulse: u32,
    /// Blood pressure in mmHg.
    systolic: u32,
    diastolic: u32,
    /// Body temperature.
    celsius: f64,
}

impl Store {
    /// Returns a patient's records, the oldest first.
    pub(crate) async fn records(&self, patient: PatientId) -> Result<Vec<Record>, StoreError> {
        let sql = "SELECT recorded_on, kind, text, icd10 FROM records WHERE patient_id = ?1 ORDER BY recorded_on";
        self.run(move |connection| {
            rows_of(connection, sql, &patient, |row| {
                Ok(Record { recorded_on: row.get(0)?, kind: row.get(1)?, text: row.get(2)?, icd10: row.get(3)? })
            })
        })
        .await
    }

    /// Returns a patient's visits, the newest first.
    pub(crate) async fn visits(&self, patient: PatientId) -> Result<Vec<Visit>, StoreError> {
        let sql = "SELECT visited_on, provider, complaint, pulse, systolic, diastolic, celsius FROM visits
                   WHERE patient_id = ?1 ORDER BY visited_on DESC";
        self.run(move |connection| rows_of(connection, sql, &patient, Visit::read)).await
    }

    pub(crate) async fn allergies(&self, patient: PatientId) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT text FROM records WHERE patient_id = ?1 AND kind = 'allergy'";
        self.run(move |connection| rows_of(connection, sql, &patient, |row| row.get(0))).await
    }
}

impl Visit {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            visited_on: row.get(0)?,
            provider: row.get(1)?,
            complaint: row.get(2)?,
            pulse: row.get(3)?,
            systolic: row.get(4)?,
            diastolic: row.get(5)?,
            celsius: row.get(6)?,
        })
    }
}
