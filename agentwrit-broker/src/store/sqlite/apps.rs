//! Apps.

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AppId, UnixTime};
use rusqlite::Row;

use super::{
    codec::{optional_time, parsed, scopes, time, unsigned},
    transaction::Transaction,
};
use crate::{
    domain::{App, AppName, AppStatus, Digest},
    store::{
        StoreError,
        apps::{AppCounts, ReadApps, former_secret},
        codec::{micros, signed},
        facts::Facts,
    },
};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT app_id, name, client_id, secret_digest, scopes, token_ttl, active, suspended, created_at, \
             updated_at, deregistered_at, sender_constrained, former_digest, former_expires_at FROM apps ",
            $rest
        )
    };
}

impl ReadApps for Transaction<'_> {
    fn app_by_client_id(&self, client_id: &str) -> Result<Option<App>, StoreError> {
        self.find(select!("WHERE client_id = ?1"), [client_id], app)
    }

    fn registered_app_named(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        self.find(select!("WHERE name = ?1 AND active"), [name.as_str()], app)
    }

    fn apps(&self, limit: u64, offset: u64) -> Result<(Vec<App>, u64), StoreError> {
        let apps = self.list(select!("ORDER BY id LIMIT ?1 OFFSET ?2"), [signed(limit), signed(offset)], app)?;
        let total = self.single("SELECT count(*) FROM apps", [], |row| unsigned(row, 0))?;
        Ok((apps, total))
    }

    fn app_counts(&self) -> Result<AppCounts, StoreError> {
        self.single(AppCounts::SELECT, [], |row| {
            Ok(AppCounts { active: unsigned(row, 0)?, suspended: unsigned(row, 1)? })
        })
    }

    fn active_apps_trusting(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<App>, StoreError> {
        let sql = select!(
            "WHERE app_id IN (SELECT app_id FROM trust_rules WHERE issuer = ?1 AND kind = ?2) AND active AND NOT suspended"
        );
        self.list(sql, [issuer, kind.as_str()], app)
    }
}

impl Transaction<'_> {
    pub(super) fn fetch_app(&self, app_id: &AppId, facts: &mut Facts) -> Result<(), StoreError> {
        if let Some(found) = self.find(select!("WHERE app_id = ?1"), [app_id.as_str()], app)? {
            facts.apps.learn(app_id.clone(), Some(found));
        }
        Ok(())
    }

    pub(super) fn suspend_active_apps(&self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        let active = "SELECT app_id FROM apps WHERE active AND NOT suspended ORDER BY id";
        let apps = self.list(active, [], |row| parsed(row, 0, AppId::parse))?;
        self.execute("UPDATE apps SET suspended = 1, updated_at = ?1 WHERE active AND NOT suspended", [micros(at)])?;
        Ok(apps)
    }
}

fn app(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App {
        app_id: parsed(row, 0, AppId::parse)?,
        name: parsed(row, 1, AppName::parse)?,
        client_id: row.get(2)?,
        secret_digest: Digest::from_bytes(row.get(3)?),
        scopes: scopes(row, 4)?,
        token_ttl: unsigned(row, 5)?,
        status: status(row.get(6)?, row.get(7)?),
        created_at: time(row, 8)?,
        updated_at: time(row, 9)?,
        deregistered_at: optional_time(row, 10)?,
        sender_constrained: row.get(11)?,
        former_secret: former_secret(row.get::<_, Option<[u8; 32]>>(12)?, optional_time(row, 13)?),
    })
}

fn status(active: bool, suspended: bool) -> AppStatus {
    match (active, suspended) {
        (true, false) => AppStatus::Active,
        (true, true) => AppStatus::Suspended,
        (false, _) => AppStatus::Inactive,
    }
}
