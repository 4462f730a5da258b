//! Registered agents.

use agentwrit_verify::{AgentId, AppId, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, optional_parsed, optional_time, parsed, scopes, time, unsigned},
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{LaunchTokenId, RegisteredAgent},
    store::{
        Page, StoreError,
        agents::{ReadAgents, WriteAgents, app_id},
        codec::{joined, micros, signed},
        names::{ReadNames, WriteNames},
    },
};

impl ReadAgents for Transaction<'_> {
    fn agent(&self, agent_id: &AgentId) -> Result<Option<RegisteredAgent>, StoreError> {
        self.find(
            "SELECT app.name, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at \
             FROM names AS agent JOIN agents ON agents.id = agent.id LEFT JOIN names AS app ON app.id = agents.app \
             WHERE agent.name = $1",
            values![agent_id.as_str()],
            |row| record(row, agent_id.clone()),
        )
    }

    fn agents_of(&self, app: &AppId, page: &Page) -> Result<(Vec<(u64, RegisteredAgent)>, u64), StoreError> {
        let Some(key) = self.app_key(app)? else { return Ok((Vec::new(), 0)) };
        let total = self.single("SELECT count(*) FROM agents WHERE app = $1", values![key], |row| unsigned(row, 0))?;
        let rows = self.list(
            "SELECT app.name, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at, agent.name, \
             agents.id FROM agents JOIN names AS agent ON agent.id = agents.id JOIN names AS app ON app.id = agents.app \
             WHERE agents.app = $1 AND agents.id > $2 ORDER BY agents.id LIMIT $3 OFFSET $4",
            values![key, signed(page.after), signed(page.limit), signed(page.offset)],
            |row| Ok((unsigned(row, 8)?, record(row, parsed(row, 7, AgentId::parse)?)?)),
        )?;
        Ok((rows, total))
    }

    fn active_agents(&self, now: UnixTime) -> Result<u64, StoreError> {
        let sql = "SELECT count(DISTINCT subject) FROM tokens JOIN agents ON agents.id = subject \
                   LEFT JOIN apps ON apps.id = agents.app WHERE tokens.expires_at > $1 AND ended_at IS NULL \
                   AND revoked_at IS NULL AND (agents.app IS NULL OR (active AND NOT suspended))";
        self.single(sql, values![micros(now)], |row| unsigned(row, 0))
    }
}

fn record(row: &Row, agent_id: AgentId) -> Result<RegisteredAgent, StoreError> {
    Ok(RegisteredAgent {
        agent_id,
        app_id: optional_parsed(row, 0, app_id)?,
        scope: scopes(row, 1)?,
        public_key: bytes(row, 2)?,
        launch_token_id: LaunchTokenId::from_bytes(bytes(row, 3)?),
        registered_at: time(row, 4)?,
        expires_at: time(row, 5)?,
        revoked_at: optional_time(row, 6)?,
    })
}

impl WriteAgents for Transaction<'_> {
    fn insert_agent(&mut self, agent: &RegisteredAgent) -> Result<(), StoreError> {
        let app = self.intern_app(agent.app_id.as_ref())?;
        let name = self.add_name(agent.agent_id.as_str(), app)?;
        self.execute(
            "INSERT INTO agents (id, app, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            values![
                name.id,
                app,
                joined(&agent.scope),
                agent.public_key,
                agent.launch_token_id.as_bytes(),
                micros(agent.registered_at),
                micros(agent.expires_at),
                agent.revoked_at.map(micros),
            ],
        )?;
        Ok(())
    }

    fn bar_agent(&mut self, agent: &AgentId, at: UnixTime) -> Result<bool, StoreError> {
        let sql = "UPDATE agents SET revoked_at = coalesce(revoked_at, $2) \
                   WHERE id = (SELECT id FROM names WHERE name = $1)";
        Ok(self.execute(sql, values![agent.as_str(), micros(at)])? == 1)
    }

    fn extend_agent(&mut self, agent: &AgentId, expires_at: UnixTime) -> Result<(), StoreError> {
        let sql =
            "UPDATE agents SET expires_at = greatest(expires_at, $2) WHERE id = (SELECT id FROM names WHERE name = $1)";
        self.execute(sql, values![agent.as_str(), micros(expires_at)]).map(|_| ())
    }

    fn bar_agents(&mut self, at: UnixTime) -> Result<u64, StoreError> {
        self.execute("UPDATE agents SET revoked_at = $1 WHERE revoked_at IS NULL", values![micros(at)])
    }
}
