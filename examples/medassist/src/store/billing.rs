//! Invoices.

use serde::Serialize;

use super::{Store, StoreError, rows_of};
use crate::PatientId;

/// An invoice.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Invoice {
    id: String,
    issued_on: String,
    item: String,
    amount_cents: u32,
    status: String,
}

impl Store {
    /// Returns a patient's invoices, the newest first.
    pub(crate) async fn invoices(&self, patient: PatientId) -> Result<Vec<Invoice>, StoreError> {
        let sql = "SELECT id, issued_on, item, amount_cents, status FROM invoices WHERE patient_id = ?1 ORDER BY issued_on DESC";
        self.run(move |connection| {
            rows_of(connection, sql, &patient, |row| {
                Ok(Invoice {
                    id: row.get(0)?,
                    issued_on: row.get(1)?,
                    item: row.get(2)?,
                    amount_cents: row.get(3)?,
                    status: row.get(4)?,
                })
            })
        })
        .await
    }
}
