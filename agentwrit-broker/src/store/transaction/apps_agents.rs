//! Apps and their agents.

use agentwrit_protocol::AttestationKind;
use agentwrit_verify::{AgentId, AppId, Subject, UnixTime};

use super::Tx;
use crate::{
    domain::{App, AppName, AppStatus, RegisteredAgent, TrustRuleId},
    store::{
        Page, StoreError,
        agents::ReadAgents,
        apps::{AppCounts, ReadApps},
        filter::AgentFilter,
        names::ReadNames,
        pending::{AgentChange, AgentRow, AppChange, AppRow},
    },
};

impl ReadApps for Tx<'_> {
    fn app_by_client_id(&self, client_id: &str) -> Result<Option<App>, StoreError> {
        self.flushed()?.app_by_client_id(client_id)
    }

    fn registered_app_named(&self, name: &AppName) -> Result<Option<App>, StoreError> {
        self.flushed()?.registered_app_named(name)
    }

    fn apps(&self, limit: u64, offset: u64) -> Result<(Vec<App>, u64), StoreError> {
        self.flushed()?.apps(limit, offset)
    }

    fn app_counts(&self) -> Result<AppCounts, StoreError> {
        self.flushed()?.app_counts()
    }

    fn active_apps_trusting(&self, kind: AttestationKind, issuer: &str) -> Result<Vec<App>, StoreError> {
        self.flushed()?.active_apps_trusting(kind, issuer)
    }
}

impl ReadAgents for Tx<'_> {
    fn agents(&self, filter: &AgentFilter, page: &Page) -> Result<(Vec<(u64, RegisteredAgent)>, u64), StoreError> {
        self.flushed()?.agents(filter, page)
    }

    fn agents_of_pod(&self, uid: &str, rule: Option<&TrustRuleId>, now: UnixTime) -> Result<Vec<AgentId>, StoreError> {
        self.flushed()?.agents_of_pod(uid, rule, now)
    }

    fn pods_of_agents(&self, now: UnixTime) -> Result<Vec<(TrustRuleId, String)>, StoreError> {
        self.flushed()?.pods_of_agents(now)
    }

    fn active_agents(&self, now: UnixTime) -> Result<u64, StoreError> {
        self.flushed()?.active_agents(now)
    }
}

impl Tx<'_> {
    /// Adds an app. Returns false if an app that is not deregistered has its name.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an `app_id` or `client_id` that exists.
    pub fn insert_app(&mut self, app: &App) -> Result<bool, StoreError> {
        if app.status != AppStatus::Inactive && self.registered_app_named(&app.name)?.is_some() {
            return Ok(false);
        }
        let id = self.intern(&Subject::App(app.app_id.clone()).to_string())?.id;
        {
            let batch = &mut self.batch.borrow_mut();
            batch.pending.apps.push(AppRow { id, app: app.clone() });
            batch.facts.apps.set(app.app_id.clone(), Some(app.clone()));
        }
        // Its unique columns are the store's to check.
        self.flushed()?;
        Ok(true)
    }

    /// Updates secrets, scopes, token lifetime, binding of tokens, status and times of an app. Returns false for an unknown app.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn update_app(&mut self, app: &App) -> Result<bool, StoreError> {
        let Some(before) = self.app(&app.app_id)? else { return Ok(false) };
        let App { name, client_id, created_at, .. } = before;
        let after = App { name, client_id, created_at, ..app.clone() };
        {
            let batch = &mut self.batch.borrow_mut();
            batch.pending.app_changes.push(AppChange(after.clone()));
            batch.facts.apps.set(after.app_id.clone(), Some(after));
        }
        self.flushed()?;
        Ok(true)
    }

    /// Suspends every active app. Returns their ids.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn suspend_apps(&mut self, at: UnixTime) -> Result<Vec<AppId>, StoreError> {
        let apps = self.change(|rows| rows.suspend_apps(at))?;
        self.batch.borrow_mut().facts.apps.forget();
        Ok(apps)
    }

    /// Adds an agent. Its audit events belong to its app from then on, so none may be recorded before.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for an id that exists.
    pub fn insert_agent(&mut self, agent: &RegisteredAgent) -> Result<(), StoreError> {
        let app = self.intern_app(agent.app_id.as_ref())?;
        self.check_new(&agent.agent_id, self.batch.borrow().facts.names.get(agent.agent_id.as_str()))?;
        let id = self.add_name(agent.agent_id.as_str(), app).id;
        let task = self.intern(agent.agent_id.task_id())?.id;
        let batch = &mut self.batch.borrow_mut();
        batch.facts.agents.set(agent.agent_id.clone(), Some(agent.clone()));
        batch.pending.agents.push(AgentRow { id, app, task, agent: agent.clone() });
        Ok(())
    }

    /// Bars an agent from receiving tokens. Returns false for an unknown agent.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn bar_agent(&mut self, agent: &AgentId, at: UnixTime) -> Result<bool, StoreError> {
        self.change_agent(agent, |agent| RegisteredAgent { revoked_at: agent.revoked_at.or(Some(at)), ..agent })
    }

    /// Records that an agent holds a token until `expires_at`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn extend_agent(&mut self, agent: &AgentId, expires_at: UnixTime) -> Result<(), StoreError> {
        let extend = |agent: RegisteredAgent| RegisteredAgent { expires_at: agent.expires_at.max(expires_at), ..agent };
        self.change_agent(agent, extend).map(|_| ())
    }

    fn change_agent(
        &self,
        agent_id: &AgentId,
        change: impl FnOnce(RegisteredAgent) -> RegisteredAgent,
    ) -> Result<bool, StoreError> {
        let (Some(agent), Some(name)) = (self.agent(agent_id)?, self.name(agent_id.as_str())?) else {
            return Ok(false);
        };
        let after = change(agent);
        let batch = &mut self.batch.borrow_mut();
        let RegisteredAgent { expires_at, revoked_at, .. } = after;
        batch.pending.agent_changes.push(AgentChange { id: name.id, expires_at, revoked_at });
        batch.facts.agents.set(agent_id.clone(), Some(after));
        Ok(true)
    }

    /// Bars every agent from receiving tokens. Returns the number that was not barred before.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn bar_agents(&mut self, at: UnixTime) -> Result<u64, StoreError> {
        let barred = self.change(|rows| rows.bar_agents(at))?;
        self.batch.borrow_mut().facts.agents.forget();
        Ok(barred)
    }
}
