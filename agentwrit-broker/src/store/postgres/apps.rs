//! Apps.

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AgentId, AppId, TokenId, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_bytes, optional_time, parsed, scopes, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{App, AppName, AppStatus, Digest},
    store::{
        StoreError,
        apps::{AppCounts, ReadApps, former_secret},
        codec::{micros, signed},
        wants::Wants,
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

    fn app_counts(&self) -> Result<AppCounts, StoreError> {
        self.single(AppCounts::SELECT, values![], |row| {
            Ok(AppCounts { active: unsigned(row, 0)?, suspended: unsigned(row, 1)? })
        })
    }

    fn active_apps_trusting(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<App>, StoreError> {
        let sql = select!(
            "WHERE app_id IN (SELECT app_id FROM trust_rules WHERE issuer = $1 AND kind = $2) AND active AND NOT suspended"
        );
        self.list(sql, values![issuer, kind.as_str()], app)
    }
}

/// Apps, and those of wanted agents and tokens, whose ceilings jobs check.
pub(super) fn query(wants: &Wants) -> Option<Query<'_>> {
    let Wants { apps, agents, tokens, .. } = wants;
    let any = !(apps.is_empty() && agents.is_empty() && tokens.is_empty());
    any.then(|| Query {
        sql: select!(
            "WHERE id IN (SELECT id FROM apps WHERE app_id = ANY($1) UNION SELECT app FROM names WHERE name = ANY($2) \
             UNION SELECT app FROM tokens WHERE jti = ANY($3))"
        )
        .into(),
        values: vec![
            apps.iter().map(AppId::as_str).collect(),
            agents.iter().map(AgentId::as_str).collect(),
            tokens.iter().map(TokenId::as_bytes).collect(),
        ],
        learn: |row, facts| {
            let app = app(row)?;
            facts.apps.learn(app.app_id.clone(), Some(app));
            Ok(())
        },
    })
}

impl Transaction<'_> {
    pub(super) fn suspend_active_apps(&self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
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
        sender_constrained: get(row, 11)?,
        former_secret: former_secret(optional_bytes(row, 12)?, optional_time(row, 13)?),
    })
}

fn status(active: bool, suspended: bool) -> AppStatus {
    match (active, suspended) {
        (true, false) => AppStatus::Active,
        (true, true) => AppStatus::Suspended,
        (false, _) => AppStatus::Inactive,
    }
}
