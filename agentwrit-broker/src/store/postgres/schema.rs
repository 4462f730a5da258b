//! Versions of the schema, and the rights of the role that brokers run as.
//!
//! 1. A broker creates the schema in an empty database if its role may, and never alters one: [`apply`] does.
//! 2. A broker works with the version that it was built for. A newer one stops its start, because it could not know what the
//!    new columns mean. A release that raises the version also works with the one before, so that brokers can be upgraded one
//!    after another, and the schema after them.

use super::{connect::Server, session::Session};
use crate::store::{OpenError, StoreError};

/// Each brings the schema from its position in the list to the next version.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];
/// Grants, with `:role` in the place of the role.
const GRANTS: &str = include_str!("roles.sql");

/// Creates the schema in an empty database. Rejects one of another version.
pub(super) fn prepare(session: &Session, database: &str) -> Result<(), OpenError> {
    let created = match version(session)? {
        0 => migrate(session, database).map(|_| ()),
        found => check(found, database),
    };
    match created {
        // Of brokers that create the schema at the same time, one succeeds; its schema serves the others too.
        Err(OpenError::Store(error)) => match version(session)? {
            0 => Err(OpenError::Database {
                cause: format!(
                    "the database `{database}` has no schema, and it can't be created: {error}; run \
                     `agentwrit-broker schema --apply` with the URL of a role that may create tables"
                ),
            }),
            found => check(found, database),
        },
        created => created,
    }
}

/// Returns the statements that create the schema and grant the rights.
pub(crate) fn sql(role: Option<&str>) -> String {
    let mut parts = vec!["BEGIN;"];
    parts.extend(MIGRATIONS);
    let grants = role.map(grants);
    parts.extend(grants.as_deref());
    parts.push("COMMIT;");
    parts.join("\n")
}

/// Brings the schema of the database at `url` up to date and grants the rights. Returns the versions before and after.
/// Blocks the thread.
pub(crate) fn apply(url: &str, role: Option<&str>) -> Result<(i64, i64), OpenError> {
    let server = Server::parse(url)?;
    let session = Session::open(&server)?;
    session.check_server()?;
    let versions = migrate(&session, &server.name())?;
    if let Some(role) = role {
        session.batch(&grants(role))?;
    }
    Ok(versions)
}

/// Returns true if the database at `url` has a schema. Blocks the thread.
pub(crate) fn exists(url: &str) -> Result<bool, OpenError> {
    Ok(version(&Session::open(&Server::parse(url)?)?)? > 0)
}

/// Brings the schema up to date in one transaction. Once there is a head row, its lock makes callers take turns.
fn migrate(session: &Session, database: &str) -> Result<(i64, i64), OpenError> {
    session.batch("BEGIN")?;
    let migrated = migrate_in_transaction(session, database);
    session.batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    migrated
}

fn migrate_in_transaction(session: &Session, database: &str) -> Result<(i64, i64), OpenError> {
    let found = version(session)?;
    if found > 0 {
        session.batch("SELECT 1 FROM head WHERE one = 1 FOR UPDATE")?;
        check_not_newer(found, database)?;
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        session.batch(migration)?;
    }
    Ok((found, supported()))
}

/// Returns the version of the schema, 0 in an empty database. Rejects a table `head` of another program.
pub(super) fn version(session: &Session) -> Result<i64, OpenError> {
    let tables = session.rows("SELECT to_regclass('head') IS NOT NULL", &[])?;
    let exists = tables.first().is_some_and(|row| row.get(0));
    if !exists {
        return Ok(0);
    }
    let rejected = |cause: &str| Err(OpenError::Database { cause: cause.to_owned() });
    match session.rows("SELECT schema_version::bigint FROM head WHERE one = 1", &[]) {
        Ok(rows) => match rows.first() {
            Some(row) => Ok(row.get(0)),
            None => rejected("its table `head` is empty: restore it from a backup"),
        },
        Err(StoreError::Internal { cause }) if cause.contains("SQLSTATE 42501") => rejected(
            "this role has no rights on its tables: run `agentwrit-broker schema --apply --role ROLE` as the owner",
        ),
        Err(StoreError::Internal { .. }) => {
            rejected("it holds a table `head` of another program: use a database or schema of the brokers' own")
        }
        Err(error) => Err(error.into()),
    }
}

fn supported() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

fn check(found: i64, database: &str) -> Result<(), OpenError> {
    check_not_newer(found, database)?;
    if found < supported() {
        let supported = supported();
        let cause = format!(
            "the database `{database}` has schema version {found}, this broker needs {supported}: run \
             `agentwrit-broker schema --apply`"
        );
        return Err(OpenError::Database { cause });
    }
    Ok(())
}

fn check_not_newer(found: i64, database: &str) -> Result<(), OpenError> {
    let supported = supported();
    if found > supported {
        return Err(OpenError::Newer { path: database.into(), found, supported });
    }
    Ok(())
}

/// Returns the grants for a role, whose name is quoted.
fn grants(role: &str) -> String {
    GRANTS.replace(":role", &format!("\"{}\"", role.replace('"', "\"\"")))
}
