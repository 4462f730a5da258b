//! Prescriptions, with their author and the root of the delegation.

use agentwrit_verify::{AgentId, Permit, UnixTime};
use rusqlite::{Row, params};
use serde::Serialize;

use super::{
    Connection, Store, StoreError,
    interactions::{Interaction, Severity, interactions},
    rows_of,
};
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
    /// Number of times that the pharmacy may give it again. An agent prescribes none.
    pub(crate) refills: u32,
    pub(crate) prescribed_at: String,
    pub(crate) prescribed_by: String,
    /// The agent at the root of the delegation, if there is one.
    pub(crate) on_behalf_of: Option<String>,
    /// The `jti` of the token, for the broker's audit trail.
    pub(crate) token_id: String,
}

/// A prescription as written, with the interactions that it was written in spite of.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Prescribed {
    #[serde(flatten)]
    pub(crate) prescription: Prescription,
    pub(crate) interactions: Vec<Interaction>,
}

impl Store {
    /// Returns a patient's prescriptions, the newest first.
    pub(crate) async fn prescriptions(&self, patient: PatientId) -> Result<Vec<Prescription>, StoreError> {
        let sql = "SELECT id, drug, dose_mg, times_per_day, days, refills, prescribed_at, prescribed_by, on_behalf_of,
                   token_id
                   FROM prescriptions WHERE patient_id = ?1 ORDER BY id DESC";
        self.run(move |connection| rows_of(connection, sql, &patient, Prescription::read)).await
    }

    /// Writes a prescription for the permit's patient, by the permit's subject: without a check there is no permit, and
    /// no other patient's file can be written with it. A moderate interaction is noted in the file; a severe one is
    /// returned as the error, and nothing is written.
    pub(crate) async fn prescribe(
        &self,
        permit: &Permit,
        on_behalf_of: Option<&AgentId>,
        dosage: Dosage,
        now: UnixTime,
    ) -> Result<Result<Prescribed, Interaction>, StoreError> {
        let patient = permit.scope().identifier().to_owned();
        let new = Prescription {
            id: 0,
            dosage,
            refills: 0,
            prescribed_at: now.to_rfc3339(),
            prescribed_by: permit.subject().to_string(),
            on_behalf_of: on_behalf_of.map(ToString::to_string),
            token_id: permit.token_id().to_string(),
        };
        self.run(move |connection| {
            let transaction = connection.unchecked_transaction()?;
            let interactions = interactions(&transaction, &patient, &new.dosage.drug)?;
            if let Some(severe) = interactions.iter().find(|found| found.severity == Severity::Severe) {
                return Ok(Err(severe.clone()));
            }
            let prescription = new.insert(&transaction, &patient)?;
            for found in interactions.iter().filter(|found| found.severity == Severity::Moderate) {
                note(&transaction, &patient, &prescription, found)?;
            }
            transaction.commit()?;
            Ok(Ok(Prescribed { prescription, interactions }))
        })
        .await
    }
}

/// Adds a note about an interaction, by the author of the prescription.
fn note(
    connection: &Connection,
    patient: &str,
    prescription: &Prescription,
    found: &Interaction,
) -> rusqlite::Result<()> {
    let drug = &prescription.dosage.drug;
    let text = format!("{drug} prescribed with {}: {} (moderate interaction).", found.with, found.effect);
    let sql = "INSERT INTO notes (patient_id, written_at, author, text) VALUES (?1, ?2, ?3, ?4)";
    let values = params![patient, prescription.prescribed_at, prescription.prescribed_by, text];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

impl Prescription {
    fn insert(mut self, connection: &Connection, patient: &str) -> rusqlite::Result<Self> {
        let sql = "INSERT INTO prescriptions (patient_id, drug, dose_mg, times_per_day, days, prescribed_at,
                   prescribed_by, on_behalf_of, token_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let Dosage { drug, dose_mg, times_per_day, days } = &self.dosage;
        let (at, by, behalf, token) = (&self.prescribed_at, &self.prescribed_by, &self.on_behalf_of, &self.token_id);
        let values = params![patient, drug, dose_mg, times_per_day, days, at, by, behalf, token];
        connection.prepare_cached(sql)?.execute(values)?;
        self.id = connection.last_insert_rowid();
        Ok(self)
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (drug, dose_mg, times_per_day, days) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        Ok(Self {
            id: row.get(0)?,
            dosage: Dosage { drug, dose_mg, times_per_day, days },
            refills: row.get(5)?,
            prescribed_at: row.get(6)?,
            prescribed_by: row.get(7)?,
            on_behalf_of: row.get(8)?,
            token_id: row.get(9)?,
        })
    }
}
