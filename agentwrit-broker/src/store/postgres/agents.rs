//! Registered agents.

use agentwrit_verify::{AgentId, UnixTime};
use tokio_postgres::Row;

use super::{
    codec::{bytes, get, optional_parsed, optional_time, parsed, scopes, time, unsigned},
    query::Query,
    transaction::Transaction,
    value::values,
};
use crate::{
    domain::{AttestedIdentity, LaunchTokenId, RegisteredAgent, RegisteredWith, TrustRuleId},
    store::{
        Page, StoreError,
        agents::{ReadAgents, app_id},
        codec::{micros, signed},
        filter::{AGENTS, AgentFilter, Conditions, Dialect},
        wants::Wants,
    },
};

/// PostgreSQL chooses by its statistics. Without them, as after a migration, it would look up the names of all agents for `IN`.
pub(super) const DIALECT: Dialect =
    Dialect { parameter: '$', find: "strpos", unindexed: "", among: "= ANY (ARRAY({}))" };

impl ReadAgents for Transaction<'_> {
    fn agents(&self, filter: &AgentFilter, page: &Page) -> Result<(Vec<(u64, RegisteredAgent)>, u64), StoreError> {
        let Some(conditions) = Conditions::of_agents(DIALECT, self, filter)? else { return Ok((Vec::new(), 0)) };
        let total = self.single(&conditions.count_of_agents(), &conditions.values, |row| unsigned(row, 0))?;
        let place = [page.after, page.limit, page.offset].map(|number| signed(number).into());
        let (sql, values) = conditions.numbered(AGENTS, place);
        let rows =
            self.list(&sql, &values, |row| Ok((unsigned(row, 13)?, record(row, parsed(row, 12, AgentId::parse)?)?)))?;
        Ok((rows, total))
    }

    fn agents_of_pod(&self, uid: &str, rule: Option<&TrustRuleId>, now: UnixTime) -> Result<Vec<AgentId>, StoreError> {
        let sql = "SELECT name FROM agents JOIN names USING (id) \
                   WHERE pod_uid = $1 AND attested_by = coalesce($2, attested_by) AND expires_at > $3 AND revoked_at IS NULL ORDER BY id";
        self.list(sql, values![uid, rule.map(TrustRuleId::as_str), micros(now)], |row| parsed(row, 0, AgentId::parse))
    }

    fn pods_of_agents(&self, now: UnixTime) -> Result<Vec<(TrustRuleId, String)>, StoreError> {
        let sql = "SELECT DISTINCT attested_by, pod_uid FROM agents \
                   WHERE pod_uid IS NOT NULL AND expires_at > $1 AND revoked_at IS NULL ORDER BY attested_by, pod_uid";
        self.list(sql, values![micros(now)], |row| Ok((parsed(row, 0, TrustRuleId::parse)?, get(row, 1)?)))
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
        registered_with: registered_with(row)?,
        registered_at: time(row, 4)?,
        expires_at: time(row, 5)?,
        revoked_at: optional_time(row, 6)?,
        sender_constrained: get(row, 7)?,
    })
}

fn registered_with(row: &Row) -> Result<RegisteredWith, StoreError> {
    let Some(rule) = optional_parsed(row, 8, TrustRuleId::parse)? else {
        return Ok(RegisteredWith::LaunchToken(LaunchTokenId::from_bytes(bytes(row, 3)?)));
    };
    let identity = AttestedIdentity { rule, issuer: get(row, 9)?, subject: get(row, 10)?, pod_uid: get(row, 11)? };
    Ok(RegisteredWith::Attestation(identity))
}

pub(super) fn query(wants: &Wants) -> Option<Query<'_>> {
    Query::of(
        "SELECT app.name, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at, \
         agents.sender_constrained, attested_by, attested_issuer, attested_subject, pod_uid, agent.name FROM names AS agent \
         JOIN agents ON agents.id = agent.id LEFT JOIN names AS app ON app.id = agents.app \
         WHERE agent.name = ANY($1)",
        wants.agents.iter().map(AgentId::as_str),
        |row, facts| {
            let agent = record(row, parsed(row, 12, AgentId::parse)?)?;
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
