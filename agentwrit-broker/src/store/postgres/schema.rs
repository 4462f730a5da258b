//! Versions of the schema.

use super::{head::new_epoch, session::Session, value::values};
use crate::store::{OpenError, StoreError, codec::signed};

/// Each brings the schema from its position in the list to the next version.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];
/// Brings the schema up to date. Rejects a newer one.
pub(super) fn migrate(session: &Session, database: &str) -> Result<(), OpenError> {
    let migrated = migrate_alone(session, database);
    match &migrated {
        // Of brokers that create the schema at the same time, one succeeds; its schema serves the others too.
        Err(OpenError::Store(_)) if version(session)? > 0 => migrate_alone(session, database),
        _ => migrated,
    }
}

/// Brings the schema up to date in one transaction. Once there is a head row, its lock makes brokers take turns.
fn migrate_alone(session: &Session, database: &str) -> Result<(), OpenError> {
    session.batch("BEGIN")?;
    let migrated = migrate_in_transaction(session, database);
    session.batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    migrated
}

fn migrate_in_transaction(session: &Session, database: &str) -> Result<(), OpenError> {
    let found = version(session)?;
    let supported = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > supported {
        return Err(OpenError::Newer { path: database.into(), found, supported });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        session.batch(migration)?;
        if version == 1 {
            insert_head(session)?;
        }
        session.execute("UPDATE head SET schema_version = $1", values![version])?;
    }
    Ok(())
}

fn insert_head(session: &Session) -> Result<(), StoreError> {
    session.execute(
        "INSERT INTO head VALUES (1, 1, 0, $1, 0, $2, 0, 0, 0, 0, NULL, 0, 0, 0, 0, $3)",
        values![new_epoch()?, [0_u8; 32], new_epoch()?],
    )?;
    Ok(())
}

/// Returns the version of the schema, 0 in an empty database. Rejects a table `head` of another program.
fn version(session: &Session) -> Result<i64, OpenError> {
    let tables = session.rows("SELECT to_regclass('head') IS NOT NULL", &[])?;
    let exists = tables.first().is_some_and(|row| row.get(0));
    if !exists {
        return Ok(0);
    }
    let foreign = "it holds a table `head` of another program: use a database or schema of the brokers' own";
    match session.rows("SELECT schema_version::bigint FROM head WHERE one = 1", &[]) {
        Ok(rows) => Ok(rows.first().map_or(signed(0), |row| row.get(0))),
        Err(StoreError::Internal { .. }) => Err(OpenError::Database { cause: foreign.to_owned() }),
        Err(error) => Err(error.into()),
    }
}
