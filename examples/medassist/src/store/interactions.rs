//! Interactions of drugs.

use serde::Serialize;

use super::{Connection, Store, StoreError};
use crate::PatientId;

/// Severity of an interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Minor,
    /// Prescribed with a note in the patient's file.
    Moderate,
    /// Never prescribed.
    Severe,
}

/// Interaction of a drug with another one that the patient takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Interaction {
    pub(crate) with: String,
    pub(crate) severity: Severity,
    pub(crate) effect: String,
}

impl Store {
    /// Returns the interactions of `drug` with the drugs that the patient takes, the most severe first.
    pub(crate) async fn interactions(&self, patient: PatientId, drug: &str) -> Result<Vec<Interaction>, StoreError> {
        let drug = drug.to_owned();
        self.run(move |connection| interactions(connection, patient.as_str(), &drug)).await
    }
}

pub(super) fn interactions(connection: &Connection, patient: &str, drug: &str) -> rusqlite::Result<Vec<Interaction>> {
    let sql = "SELECT DISTINCT prescriptions.drug, severity, effect FROM prescriptions
               JOIN interactions ON interactions.drug = min(prescriptions.drug, ?2)
                                AND interactions.other = max(prescriptions.drug, ?2)
               WHERE patient_id = ?1 ORDER BY prescriptions.drug";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([patient, drug], |row| {
        let severity = match row.get_ref(1)?.as_str()? {
            "severe" => Severity::Severe,
            "moderate" => Severity::Moderate,
            _ => Severity::Minor, // the table's only other value
        };
        Ok(Interaction { with: row.get(0)?, severity, effect: row.get(2)? })
    })?;
    let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    found.sort_by_key(|interaction| match interaction.severity {
        Severity::Severe => 0,
        Severity::Moderate => 1,
        Severity::Minor => 2,
    });
    Ok(found)
}
