//! Registered agents.

use agentwrit_verify::{AgentId, AppId, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_parsed, optional_time, parsed, scopes, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{LaunchTokenId, RegisteredAgent},
    store::{
        Page, StoreError,
        agents::{ReadAgents, app_id},
        codec::{micros, signed},
        names::ReadNames,
        wants::Wants,
    },
};

impl ReadAgents for Transaction<'_> {
    fn agents_of(&self, app: &AppId, page: &Page) -> Result<(Vec<(u64, RegisteredAgent)>, u64), StoreError> {
        let Some(key) = self.app_key(app)? else { return Ok((Vec::new(), 0)) };
        let total = self.single("SELECT count(*) FROM agents WHERE app = $1", values![key], |row| unsigned(row, 0))?;
        let rows = self.list(
            "SELECT app.name, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at, \
             agents.sender_constrained, agent.name, agents.id FROM agents JOIN names AS agent ON agent.id = agents.id JOIN names AS app ON app.id = agents.app \
             WHERE agents.app = $1 AND agents.id > $2 ORDER BY agents.id LIMIT $3 OFFSET $4",
            values![key, signed(page.after), signed(page.limit), signed(page.offset)],
            |row| Ok((unsigned(row, 9)?, record(row, parsed(row, 8, AgentId::parse)?)?)),
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
        sender_constrained: get(row, 7)?,
    })
}

pub(super) fn query(wants: &Wants) -> Option<Query<'_>> {
    Query::of(
        "SELECT app.name, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at, \
         agents.sender_constrained, agent.name FROM names AS agent JOIN agents ON agents.id = agent.id LEFT JOIN names AS app ON app.id = agents.app \
         WHERE agent.name = ANY($1)",
        wants.agents.iter().map(AgentId::as_str),
        |row, facts| {
            let agent = record(row, parsed(row, 8, AgentId::parse)?)?;
            facts.agents.learn(agent.agent_id.clone(), Some(agent));
            Ok(())
        },
    )
}

impl Transaction<'_> {
    pub(super) fn bar_all_agents(&self, at: UnixTime) -> Result<u64, StoreError> {
        self.execute("UPDATE agents SET revoked_at = $1 WHERE revoked_at IS NULL", values![micros(at)])
    }
}
