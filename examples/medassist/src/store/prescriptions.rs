//! Prescriptions, with their author and the root of the delegation.

use agentwrit_verify::{AgentId, Permit, UnixTime};
use rusqlite::{Row, params};
use serde::Serialize;

use super::{Store, StoreError, rows_of};
use crate::PatientId;

/// Drug and dose, checked against the formulary and the patient's allergies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Dosage {
    pub(crate) drug: String,
    pub(crate) dose_mg: u32,
    pub(crate) times_per_day: u32,
    pub(crate) days: u32,
}

/// A prescription.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Prescription {
    pub(crate) id: i64,
    #[serde(flatten)]
    pub(crate) dosage: Dosage,
    pub(crate) prescribed_at: String,
    pub(crate) prescribed_by: String,
    /// The agent at the root of the delegation, if there is one.
    pub(crate) on_behalf_of: Option<String>,
    /// The `jti` of the token, for the broker's audit trail.
    pub(crate) token_id: String,
}

impl Store {
    /// Returns a patient's prescriptions, the newest first.
    pub(crate) async fn prescriptions(&self, patient: PatientId) -> Result<Vec<Prescription>, StoreError> {
        let sql = "SELECT id, drug, dose_mg, times_per_day, days, prescribed_at, prescribed_by, on_behalf_of, token_id
                   FROM prescriptions WHERE patient_id = ?1 ORDER BY id DESC";
        self.run(move |connection| rows_of(connection, sql, &patient, Prescription::read)).await
    }

    /// Writes a prescription for the permit's patient, by the permit's subject: without a check there is no permit, and
    /// no other patient's file can be written with it.
    pub(crate) async fn prescribe(
        &self,
        permit: &Permit,
        on_behalf_of: Option<&AgentId>,
        dosage: Dosage,
        now: UnixTime,
    ) -> Result<Prescription, StoreError> {
        let patient = permit.scope().identifier().to_owned();
        let mut new = Prescription {
            id: 0,
            dosage,
            prescribed_at: now.to_rfc3339(),
            prescribed_by: permit.subject().to_string(),
            on_behalf_of: on_behalf_of.map(ToString::to_string),
            token_id: permit.token_id().to_string(),
        };
        self.run(move |connection| {
            let sql = "INSERT INTO prescriptions (patient_id, drug, dose_mg, times_per_day, days, prescribed_at,
                       prescribed_by, on_behalf_of, token_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let Dosage { drug, dose_mg, times_per_day, days } = &new.dosage;
            let (at, by, behalf, token) = (&new.prescribed_at, &new.prescribed_by, &new.on_behalf_of, &new.token_id);
            let values = params![patient, drug, dose_mg, times_per_day, days, at, by, behalf, token];
            connection.prepare_cached(sql)?.execute(values)?;
            new.id = connection.last_insert_rowid();
            Ok(new)
        })
        .await
    }
}

impl Prescription {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (drug, dose_mg, times_per_day, days) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        Ok(Self {
            id: row.get(0)?,
            dosage: Dosage { drug, dose_mg, times_per_day, days },
            prescribed_at: row.get(5)?,
            prescribed_by: row.get(6)?,
            on_behalf_of: row.get(7)?,
            token_id: row.get(8)?,
        })
    }
}
