//! Drugs of the hospital's pharmacy.

use rusqlite::{OptionalExtension as _, Row};
use serde::Serialize;

use super::{Store, StoreError};

/// Drug with the limits of its use.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Drug {
    pub(crate) name: String,
    pub(crate) form: String,
    /// Maximum single dose.
    pub(crate) max_dose_mg: u32,
    /// A narcotic, which requires a second scope.
    pub(crate) controlled: bool,
    /// Allergy that excludes it.
    pub(crate) allergen: Option<String>,
    pub(crate) class: String,
    pub(crate) contraindication: Option<String>,
    /// Tier of the insurers' price lists, 1 to 3.
    pub(crate) tier: u32,
    /// The insurer must agree before it is prescribed.
    pub(crate) prior_authorization: bool,
}

impl Store {
    pub(crate) async fn formulary(&self) -> Result<Vec<Drug>, StoreError> {
        let sql = "SELECT * FROM formulary ORDER BY drug";
        self.run(move |connection| connection.prepare_cached(sql)?.query_map([], Drug::read)?.collect()).await
    }

    pub(crate) async fn drug(&self, name: &str) -> Result<Option<Drug>, StoreError> {
        let sql = "SELECT * FROM formulary WHERE drug = ?1";
        let name = name.to_owned();
        self.run(move |connection| connection.prepare_cached(sql)?.query_row([name], Drug::read).optional()).await
    }
}

impl Drug {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get("drug")?,
            form: row.get("form")?,
            max_dose_mg: row.get("max_dose_mg")?,
            controlled: row.get("controlled")?,
            allergen: row.get("allergen")?,
            class: row.get("class")?,
            contraindication: row.get("contraindication")?,
            tier: row.get("tier")?,
            prior_authorization: row.get("prior_authorization")?,
        })
    }
}
