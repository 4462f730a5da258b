//! Apps.

use agentwrit_verify::{AppId, Subject, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_time, parsed, scopes, time, unsigned},
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{App, AppName, AppStatus, Digest},
    store::{
        StoreError,
        apps::{ReadApps, WriteApps},
        codec::{joined, micros, signed},
        names::WriteNames,
    },
};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT app_id, name, client_id, secret_digest, scopes, token_ttl, active, suspended, created_at, \
             updated_at, deregistered_at FROM apps ",
            $rest
        )
    };
}

impl ReadApps for Transaction<'_> {
    fn app(&self, app_id: &AppId) -> Result<Option<App>, StoreError> {
        self.find(select!("WHERE app_id = $1"), values![app_id.as_str()], app)
    }

    fn app_by_client_id(&self, client_id: &str) -> Result<Option<App>, StoreError> {
        self.find(select!("WHERE client_id = $1"), values![client_id], app)
    }

    fn registered_app_named(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        self.find(select!("WHERE name = $1 AND active"), values![name.as_str()], app)
    }

    fn apps(&self, limit: u64, offset: u64) -> Result<(Vec<App>, u64), StoreError> {
        let apps = self.list(select!("ORDER BY id LIMIT $1 OFFSET $2"), values![signed(limit), signed(offset)], app)?;
        let total = self.single("SELECT count(*) FROM apps", values![], |row| unsigned(row, 0))?;
        Ok((apps, total))
    }
}

impl WriteApps for Transaction<'_> {
    fn insert_app(&mut self, app: &App) -> Result<bool, StoreError> {
        if app.status != AppStatus::Inactive && self.registered_app_named(&app.name)?.is_some() {
            return Ok(false);
        }
        let name = self.intern(&Subject::App(app.app_id.clone()).to_string())?;
        self.execute(
            "INSERT INTO apps (id, app_id, name, client_id, secret_digest, scopes, token_ttl, active, suspended, \
             created_at, updated_at, deregistered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            values![
                name.id,
                app.app_id.as_str(),
                app.name.as_str(),
                app.client_id.as_str(),
                app.secret_digest.as_bytes(),
                joined(&app.scopes),
                signed(app.token_ttl),
                app.status != AppStatus::Inactive,
                app.status == AppStatus::Suspended,
                micros(app.created_at),
                micros(app.updated_at),
                app.deregistered_at.map(micros),
            ],
        )?;
        Ok(true)
    }

    fn update_app(&mut self, app: &App) -> Result<bool, StoreError> {
        let changed = self.execute(
            "UPDATE apps SET scopes = $2, token_ttl = $3, active = $4, suspended = $5, updated_at = $6, \
             deregistered_at = $7 WHERE app_id = $1",
            values![
                app.app_id.as_str(),
                joined(&app.scopes),
                signed(app.token_ttl),
                app.status != AppStatus::Inactive,
                app.status == AppStatus::Suspended,
                micros(app.updated_at),
                app.deregistered_at.map(micros),
            ],
        )?;
        Ok(changed == 1)
    }

    fn suspend_apps(&mut self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        let active = "SELECT app_id FROM apps WHERE active AND NOT suspended ORDER BY id";
        let apps = self.list(active, values![], |row| parsed(row, 0, AppId::parse))?;
        self.execute(
            "UPDATE apps SET suspended = true, updated_at = $1 WHERE active AND NOT suspended",
            values![micros(at)],
        )?;
        Ok(apps)
    }
}

fn app(row: &Row) -> Result<App, StoreError> {
    Ok(App {
        app_id: parsed(row, 0, AppId::parse)?,
        name: parsed(row, 1, AppName::parse)?,
        client_id: get(row, 2)?,
        secret_digest: Digest::from_bytes(bytes(row, 3)?),
        scopes: scopes(row, 4)?,
        token_ttl: unsigned(row, 5)?,
        status: status(get(row, 6)?, get(row, 7)?),
        created_at: time(row, 8)?,
        updated_at: time(row, 9)?,
        deregistered_at: optional_time(row, 10)?,
    })
}

fn status(active: bool, suspended: bool) -> AppStatus {
    match (active, suspended) {
        (true, false) => AppStatus::Active,
        (true, true) => AppStatus::Suspended,
        (false, _) => AppStatus::Inactive,
    }
}
