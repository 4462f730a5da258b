//! Reads of registered agents.

use agentwrit_verify::{AgentId, AppId, UnixTime};

use super::{
    Page, StoreError,
    facts::{ReadFacts, lookup},
    filter::AgentFilter,
    wants::Wants,
};
use crate::domain::{RegisteredAgent, TrustRuleId};

/// Reads of agents.
pub trait ReadAgents: ReadFacts {
    /// Returns an agent, expired or not; agents are deleted some time after they expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn agent(&self, agent_id: &AgentId) -> Result<Option<RegisteredAgent>, StoreError> {
        lookup(self, || Wants::none().agent(agent_id), |facts| Some(facts.agents.find(agent_id)?.cloned()))
    }

    /// Returns a page of the agents that match, in the order of registration, each with its cursor, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn agents(&self, filter: &AgentFilter, page: &Page) -> Result<(Vec<(u64, RegisteredAgent)>, u64), StoreError>;

    /// Returns the agents that registered from a Kubernetes pod by one trust rule (by any, without one), may hold a token, and
    /// are not barred.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn agents_of_pod(&self, uid: &str, rule: Option<&TrustRuleId>, now: UnixTime) -> Result<Vec<AgentId>, StoreError>;

    /// Returns the Kubernetes pods with such agents: the trust rules by which they registered, and the pods' uids.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn pods_of_agents(&self, now: UnixTime) -> Result<Vec<(TrustRuleId, String)>, StoreError>;

    /// Returns the number of agents that hold a valid token, are not barred, and whose app is active.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn active_agents(&self, now: UnixTime) -> Result<u64, StoreError>;
}

/// Parses the app id of `app:<app_id>`.
pub(super) fn app_id(name: &str) -> Result<AppId, agentwrit_verify::IdentityError> {
    AppId::parse(name.strip_prefix("app:").unwrap_or(name))
}
