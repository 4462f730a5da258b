//! Laboratory results.

use serde::Serialize;

use super::{Store, StoreError, rows_of};
use crate::PatientId;

/// Result of a test.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Lab {
    taken_on: String,
    test: String,
    value: f64,
    unit: String,
    reference: String,
    /// `low`, `normal` or `high`.
    flag: String,
}

impl Store {
    /// Returns a patient's results, the newest first.
    pub(crate) async fn labs(&self, patient: PatientId) -> Result<Vec<Lab>, StoreError> {
        let sql = "SELECT taken_on, test, value, unit, reference, flag FROM labs WHERE patient_id = ?1 ORDER BY taken_on DESC, test";
        self.run(move |connection| {
            rows_of(connection, sql, &patient, |row| {
                Ok(Lab {
                    taken_on: row.get(0)?,
                    test: row.get(1)?,
                    value: row.get(2)?,
                    unit: row.get(3)?,
                    reference: row.get(4)?,
                    flag: row.get(5)?,
                })
            })
        })
        .await
    }
}
