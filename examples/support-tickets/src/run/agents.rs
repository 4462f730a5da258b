//! Agents of a run: registration, release, and the proof that their tokens are rejected.

use std::time::{Duration, Instant};

use agentwrit_client::{Agent, ClientError};
use agentwrit_verify::{Clock, SystemClock};
use demo_common::service_client::ServiceRequest;
use http::StatusCode;

use super::{EventKind, Role, RunLog, StepError};
use crate::desk::Desk;

/// Timeout for a token's end to become visible at the service, which takes milliseconds.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval between two attempts with a token that must end.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// Interval at which the service is asked about a token that is left to expire.
const REVOCATION_INTERVAL: Duration = Duration::from_millis(250);

/// Agent of a run.
pub(super) struct RunAgent {
    pub(super) role: Role,
    pub(super) agent: Agent,
    /// Request that the agent's scope allows while its token lives.
    probe: ServiceRequest,
    ended: bool,
}

/// All agents of a run.
pub(super) struct Agents<'a> {
    desk: &'a Desk,
    log: &'a RunLog,
    task: String,
    registered: Vec<RunAgent>,
}

impl<'a> Agents<'a> {
    pub(super) fn new(desk: &'a Desk, log: &'a RunLog, task: String) -> Self {
        Self { desk, log, task, registered: Vec::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.registered.len()
    }

    /// Asks the broker for an agent. `Err` inside is the broker's refusal.
    pub(super) async fn request(&self, scopes: &[String], ttl: Duration) -> Result<Agent, ClientError> {
        self.desk.app().agent("support", &self.task).scope(scopes)?.max_ttl(ttl).create().await
    }

    /// Registers an agent and validates its token.
    pub(super) async fn create(
        &mut self,
        role: Role,
        scopes: &[String],
        ttl: Duration,
        probe: ServiceRequest,
    ) -> Result<Agent, StepError> {
        // Within the request a run would lose an agent that the broker has registered.
        if self.desk.runs().is_stopping() {
            return Err(StepError::Stopping);
        }
        let failed = |error| StepError::Other(format!("the {role} agent could not be registered: {error}").into());
        let agent = self.request(scopes, ttl).await.map_err(failed)?;
        self.keep(role, agent.clone(), probe);
        let valid = self.desk.client().validate(agent.token().expose()).await;
        let valid = valid.map_err(|error| StepError::Other(error.into()))?.is_valid();
        self.log.record(EventKind::Validated { role, valid });
        self.log.pause().await;
        Ok(agent)
    }

    /// Adds an agent to those that are released at the end.
    pub(super) fn keep(&mut self, role: Role, agent: Agent, probe: ServiceRequest) {
        let (now, expires_at) = (SystemClock.now(), agent.expires_at());
        self.log.record(EventKind::AgentCreated {
            role,
            agent_id: agent.id().to_string(),
            scopes: agent.scopes().iter().map(ToString::to_string).collect(),
            // The token's first second began before now.
            ttl: expires_at.saturating_since(now).as_secs() + 1,
            expires_at: expires_at.seconds(),
        });
        self.registered.push(RunAgent { role, agent, probe, ended: false });
    }

    /// Releases the agent of a role, whose step is done.
    pub(super) async fn release(&mut self, role: Role) {
        let (desk, log) = (self.desk, self.log);
        for agent in self.registered.iter_mut().filter(|agent| agent.role == role && !agent.ended) {
            agent.release(desk, log).await;
        }
        log.pause().await;
    }

    /// Waits until the token of a role has expired by itself. Fails when the operator revokes it before.
    pub(super) async fn expire(&mut self, role: Role) -> Result<(), StepError> {
        for agent in self.registered.iter_mut().filter(|agent| agent.role == role && !agent.ended) {
            self.log.record(EventKind::Waiting { role, expires_at: agent.agent.expires_at().seconds() });
            let is_expired = tokio::select! {
                expired = agent.wait_for_end(self.desk) => expired?,
                () = self.desk.runs().stopped() => return Err(StepError::Stopping),
            };
            if !is_expired {
                return Err(StepError::TokenEnded(role));
            }
            agent.ended(self.log, "expired");
        }
        Ok(())
    }

    /// Records the end of the agents of a role whose token is refused. They cannot be released.
    pub(super) fn refused(&mut self, role: Role) {
        for agent in self.registered.iter_mut().filter(|agent| agent.role == role && !agent.ended) {
            let is_expired = agent.agent.expires_at() <= SystemClock.now();
            agent.ended(self.log, if is_expired { "expired" } else { "revoked" });
        }
    }

    /// Releases all agents that have not ended.
    pub(super) async fn end(&mut self) {
        for agent in self.registered.iter_mut().filter(|agent| !agent.ended) {
            agent.release(self.desk, self.log).await;
        }
    }

    /// Presents every token of the run to service and broker, and returns how many both refuse.
    pub(super) async fn present_ended(&self) -> usize {
        let mut rejected = 0;
        for agent in &self.registered {
            match agent.present_ended(self.desk).await {
                Ok((service, broker_valid)) => {
                    let is_rejected = service == StatusCode::UNAUTHORIZED && !broker_valid;
                    rejected += usize::from(is_rejected);
                    self.log.record(EventKind::Proof {
                        role: agent.role,
                        agent_id: agent.agent.id().to_string(),
                        service_status: service.as_u16(),
                        broker_valid,
                        rejected: is_rejected,
                    });
                }
                Err(error) => {
                    let error = format!("the {} token could not be checked: {error}", agent.role);
                    self.log.record(EventKind::Failed { error });
                }
            }
            self.log.pause().await;
        }
        rejected
    }
}

impl RunAgent {
    /// Waits until the token has expired, or the service refuses it before: then the result is `false`.
    async fn wait_for_end(&self, desk: &Desk) -> Result<bool, StepError> {
        let left = || self.agent.expires_at().saturating_since(SystemClock.now());
        while !left().is_zero() {
            tokio::time::sleep(left().min(REVOCATION_INTERVAL)).await;
            let service = desk.service().send(Some(&self.agent.authorization()), &self.probe).await?.status;
            if service == StatusCode::UNAUTHORIZED && !left().is_zero() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn release(&mut self, desk: &Desk, log: &RunLog) {
        // The token in hand is of the released session afterwards: kept for the proof.
        match desk.client().release(&self.agent.token()).await {
            Ok(()) => self.ended(log, "released"),
            Err(error) => {
                self.ended = true;
                let error = format!("the {} token could not be released: {error}", self.role);
                log.record(EventKind::Failed { error });
            }
        }
    }

    fn ended(&mut self, log: &RunLog, how: &'static str) {
        self.ended = true;
        log.record(EventKind::Ended { role: self.role, agent_id: self.agent.id().to_string(), how });
    }

    /// Presents the token until service and broker refuse it, or the time is up.
    async fn present_ended(&self, desk: &Desk) -> Result<(StatusCode, bool), StepError> {
        let started = Instant::now();
        loop {
            let authorization = self.agent.authorization();
            let service = desk.service().send(Some(&authorization), &self.probe).await?.status;
            let valid = desk.client().validate(self.agent.token().expose()).await;
            let valid = valid.map_err(|error| StepError::Other(error.into()))?.is_valid();
            if (service == StatusCode::UNAUTHORIZED && !valid) || started.elapsed() >= END_TIMEOUT {
                return Ok((service, valid));
            }
            tokio::time::sleep(END_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::planner::planner;

    #[tokio::test]
    async fn creates_no_agent_once_program_stops() {
        let desk = Desk::start(None, Arc::new(planner()), Duration::from_secs(3)).await.unwrap();
        let log = RunLog::new(Duration::ZERO);
        let mut agents = Agents::new(&desk, &log, "task".to_owned());
        let scopes = ["read:kb:*".to_owned()];
        let probe = || ServiceRequest::get("/knowledge?q=refund");
        agents.create(Role::Knowledge, &scopes, Duration::from_secs(60), probe()).await.unwrap();
        assert!(desk.runs().stop().await);
        let second = agents.create(Role::Knowledge, &scopes, Duration::from_secs(60), probe()).await;
        assert!(matches!(second, Err(StepError::Stopping)));
        assert_eq!(agents.count(), 1);
        assert!(desk.stop().await);
    }
}
