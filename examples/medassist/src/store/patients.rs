//! Patients.

use rusqlite::{OptionalExtension as _, Row, params_from_iter};
use serde::Serialize;

use super::{Store, StoreError};
use crate::PatientId;

/// Patient, without clinical data.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Patient {
    id: String,
    name: String,
    born: String,
    ward: String,
}

/// Address and phone of a patient, and the person to call in an emergency.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Contact {
    address: String,
    phone: String,
    emergency_name: String,
    emergency_relation: String,
    emergency_phone: String,
}

/// Patient with contact.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Admission {
    #[serde(flatten)]
    patient: Patient,
    contact: Option<Contact>,
}

impl Store {
    /// Returns a patient with contact.
    pub(crate) async fn admission(&self, id: &PatientId) -> Result<Option<Admission>, StoreError> {
        let Some(patient) = self.patient(id).await? else { return Ok(None) };
        let id = id.clone();
        let contact = self.run(move |connection| {
            let sql = "SELECT address, phone, emergency_name, emergency_relation, emergency_phone FROM contacts
                       WHERE patient_id = ?1";
            connection.prepare_cached(sql)?.query_row([id.as_str()], Contact::read).optional()
        });
        Ok(Some(Admission { patient, contact: contact.await? }))
    }

    pub(crate) async fn patient(&self, id: &PatientId) -> Result<Option<Patient>, StoreError> {
        let id = id.clone();
        self.run(move |connection| {
            let mut query = connection.prepare_cached("SELECT id, name, born, ward FROM patients WHERE id = ?1")?;
            query.query_row([id.as_str()], Patient::read).optional()
        })
        .await
    }

    pub(crate) async fn patients(&self) -> Result<Vec<Patient>, StoreError> {
        self.run(|connection| {
            let mut query = connection.prepare_cached("SELECT id, name, born, ward FROM patients ORDER BY id")?;
            query.query_map([], Patient::read)?.collect()
        })
        .await
    }

    /// Returns the patients among these ids.
    pub(crate) async fn patients_among(&self, ids: &[Box<str>]) -> Result<Vec<Patient>, StoreError> {
        let ids = ids.to_vec();
        self.run(move |connection| {
            let places = vec!["?"; ids.len()].join(", ");
            let sql = format!("SELECT id, name, born, ward FROM patients WHERE id IN ({places}) ORDER BY id");
            connection.prepare(&sql)?.query_map(params_from_iter(&ids), Patient::read)?.collect()
        })
        .await
    }
}

impl Patient {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, name: row.get(1)?, born: row.get(2)?, ward: row.get(3)? })
    }
}

impl Contact {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            address: row.get(0)?,
            phone: row.get(1)?,
            emergency_name: row.get(2)?,
            emergency_relation: row.get(3)?,
            emergency_phone: row.get(4)?,
        })
    }
}
