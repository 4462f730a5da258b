//! `agentwrit-broker schema`: the tables of a shared database.

use tokio::task::spawn_blocking;

use crate::{
    config::{Args, Config, ConfigErrors},
    store::{self, OpenError, StoreError},
};

/// Returns the SQL that creates the tables, and with `role` grants the rights of a broker to it.
#[must_use]
pub fn schema_sql(role: Option<&str>) -> String {
    store::schema_sql(role)
}

/// Brings the tables of the database of this process up to date, and with `role` grants the rights of a broker to it.
/// Returns a description of what was done.
///
/// # Errors
///
/// [`SchemaError`], and nothing was done, or the tables were brought up to date and the rights not granted.
pub async fn apply_schema(args: &Args, role: Option<String>) -> Result<String, SchemaError> {
    let url = Config::database_url_of_process(args)?.ok_or(SchemaError::NoUrl)?;
    let granted = role.clone();
    let applied = spawn_blocking(move || store::apply_schema(url.expose(), role.as_deref())).await;
    let (before, after) = applied.map_err(|error| StoreError::Internal { cause: error.to_string() })??;
    let done = match before {
        0 => format!("schema version {after} was created"),
        _ if before == after => format!("schema version {after} was up to date"),
        _ => format!("schema version {before} was brought to version {after}"),
    };
    Ok(granted.map_or_else(|| done.clone(), |role| format!("{done}; granted a broker's rights to `{role}`")))
}

/// Reason that the tables of a shared database were not brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// There is no shared database.
    #[error("AA_DATABASE_URL is not set: a database file is brought up to date by the broker's start")]
    NoUrl,
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The database can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<StoreError> for SchemaError {
    fn from(error: StoreError) -> Self {
        Self::Open(error.into())
    }
}
