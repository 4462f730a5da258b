//! Registered agents.

use agentwrit_verify::{AgentId, AppId, UnixTime};

use super::{Page, StoreError};
use crate::domain::RegisteredAgent;

/// Reads of agents.
pub trait ReadAgents {
    /// Returns an agent, expired or not; agents are deleted some time after they expired.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn agent(&self, agent_id: &AgentId) -> Result<Option<RegisteredAgent>, StoreError>;

    /// Returns a page of an app's agents in the order of registration, each with its cursor, and the total.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn agents_of(&self, app: &AppId, page: &Page) -> Result<(Vec<(u64, RegisteredAgent)>, u64), StoreError>;

    /// Returns the number of agents that hold a valid token, are not barred, and whose app is active.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn active_agents(&self, now: UnixTime) -> Result<u64, StoreError>;
}

/// Changes to agents.
pub trait WriteAgents {
    /// Adds an agent. Its audit events belong to its app from then on, so none may be recorded before.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an id that exists.
    fn insert_agent(&mut self, agent: &RegisteredAgent) -> Result<(), StoreError>;

    /// Bars an agent from receiving tokens. Returns false for an unknown agent.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn bar_agent(&mut self, agent: &AgentId, at: UnixTime) -> Result<bool, StoreError>;

    /// Records that an agent holds a token until `expires_at`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn extend_agent(&mut self, agent: &AgentId, expires_at: UnixTime) -> Result<(), StoreError>;

    /// Bars every agent from receiving tokens. Returns the number that was not barred before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    fn bar_agents(&mut self, at: UnixTime) -> Result<u64, StoreError>;
}

/// Parses the app id of `app:<app_id>`.
pub(super) fn app_id(name: &str) -> Result<AppId, agentwrit_verify::IdentityError> {
    AppId::parse(name.strip_prefix("app:").unwrap_or(name))
}
