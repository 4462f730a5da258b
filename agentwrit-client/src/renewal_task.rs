//! The task that keeps an agent alive. What it does and when is [`RenewalSchedule`]'s decision.

use std::{sync::Arc, time::Duration};

use agentwrit_verify::{Clock, UnixTime, http_client::random_fraction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    agent::Agent,
    agent_request::AgentRequest,
    error::ClientError,
    live_agent::AgentState,
    renewal_schedule::{RenewalSchedule, Step},
};

/// The wall clock is looked at this often: it runs on while a machine sleeps, and timers don't.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// How long an agent that everybody has dropped is worth a release.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The wish to have the agent released, and where to say what came of it.
pub(crate) type ReleaseRequest = oneshot::Sender<Result<(), ClientError>>;

/// Keeps one agent alive until it is released, or everybody has dropped it.
pub(crate) struct RenewalTask {
    agent: Agent,
    /// How to get another one.
    request: Option<AgentRequest>,
    schedule: RenewalSchedule,
    state: watch::Sender<AgentState>,
    releases: mpsc::Receiver<ReleaseRequest>,
}

/// Why the work ends.
enum StopReason {
    Release(ReleaseRequest),
    HandlesDropped,
    Ended,
}

impl RenewalTask {
    pub(crate) fn new(
        agent: Agent,
        request: Option<AgentRequest>,
        state: watch::Sender<AgentState>,
        releases: mpsc::Receiver<ReleaseRequest>,
    ) -> Self {
        let schedule = RenewalSchedule::new(agent.times(), request.is_some(), agent.clock().now(), random_fraction());
        Self { agent, request, schedule, state, releases }
    }

    pub(crate) async fn run(mut self) {
        match self.run_until_stop().await {
            StopReason::Release(release) => self.release(release).await,
            StopReason::HandlesDropped => self.release_after_drop().await,
            StopReason::Ended => {
                let reason = self.schedule.usable(UnixTime::MAX).err();
                let reason = reason.unwrap_or_else(|| ClientError::no_token("it has expired"));
                tracing::warn!(agent = %self.agent.id(), %reason, "agent has ended");
                self.state.send_replace(AgentState::Ended(Arc::new(reason)));
            }
        }
    }

    async fn run_until_stop(&mut self) -> StopReason {
        loop {
            match self.schedule.step() {
                Step::WaitUntil(due) => {
                    if let Some(end) = self.wait_until(due).await {
                        return end;
                    }
                    self.schedule.waited();
                    self.publish(false);
                }
                Step::Renew => self.renew().await,
                Step::Register => self.register().await,
                Step::Stop => return StopReason::Ended,
            }
        }
    }

    /// Waits for `due` on whichever clock shows it first: the wall clock may be set back, the other one stands while the
    /// machine sleeps.
    async fn wait_until(&mut self, due: UnixTime) -> Option<StopReason> {
        let clock = Arc::clone(self.agent.clock());
        let (begun, whole) = (clock.monotonic(), due.saturating_since(clock.now()));
        loop {
            let waited = clock.monotonic().saturating_duration_since(begun);
            let left = due.saturating_since(clock.now()).min(whole.saturating_sub(waited));
            if left.is_zero() {
                return None;
            }
            tokio::select! {
                release = self.releases.recv() => return Some(release.map_or(StopReason::HandlesDropped, StopReason::Release)),
                () = tokio::time::sleep(left.min(MAX_SLEEP)) => {}
            }
        }
    }

    async fn renew(&mut self) {
        let id = self.agent.id().clone();
        let renewal = self.agent.renew().await;
        let now = self.agent.clock().now();
        match &renewal {
            Ok(()) => {
                self.schedule.renewed(self.agent.times(), now, random_fraction());
                tracing::debug!(agent = %id, expires_at = %self.agent.expires_at(), "token renewed");
            }
            Err(error) => {
                tracing::warn!(agent = %id, %error, "renewal failed");
                self.schedule.renewal_failed(error.clone(), now, random_fraction());
            }
        }
        self.publish(renewal.is_ok());
    }

    async fn register(&mut self) {
        let Some(request) = &self.request else { return };
        let registration = request.register().await;
        let now = self.agent.clock().now();
        let registered = registration.is_ok();
        match registration {
            Ok(agent) => {
                tracing::warn!(agent = %agent.id(), before = %self.agent.id(), "registered anew");
                self.agent = agent;
                self.schedule.registered(self.agent.times(), now, random_fraction());
            }
            Err(error) => {
                tracing::warn!(before = %self.agent.id(), %error, "registration failed");
                self.schedule.registration_failed(error, now, random_fraction());
            }
        }
        self.publish(registered);
    }

    /// Tells what there is to be told: another token, or that there is none.
    fn publish(&self, another_token: bool) {
        match self.schedule.usable(self.agent.clock().now()) {
            Ok(()) if another_token => drop(self.state.send_replace(AgentState::Live(self.agent.clone()))),
            Ok(()) => {}
            Err(_) if self.schedule.step() == Step::Stop => {} // the end is announced as such
            Err(reason) => {
                self.state.send_if_modified(|state| {
                    let news = !matches!(&*state, AgentState::Recovering(known) if **known == reason);
                    if news {
                        *state = AgentState::Recovering(Arc::new(reason));
                    }
                    news
                });
            }
        }
    }

    /// Stays for another try when it fails: whoever asked may ask again.
    async fn release(mut self, release: ReleaseRequest) {
        self.state.send_replace(AgentState::Released);
        let mut asked = release;
        loop {
            let released = self.release_token().await;
            let done = released.is_ok();
            // Whoever asked may have gone away.
            asked.send(released).ok();
            if done {
                return;
            }
            match self.releases.recv().await {
                Some(again) => asked = again,
                None => return self.release_after_drop().await,
            }
        }
    }

    /// Everybody has gone: tries once, and not for long.
    async fn release_after_drop(self) {
        self.state.send_replace(AgentState::Released);
        let id = self.agent.id();
        match tokio::time::timeout(RELEASE_TIMEOUT, self.release_token()).await {
            Ok(Ok(())) => tracing::debug!(agent = %id, "agent released"),
            Ok(Err(error)) => {
                tracing::warn!(agent = %id, %error, "agent not released, its token lives until it expires");
            }
            Err(_) => tracing::warn!(agent = %id, "agent not released in time, its token lives until it expires"),
        }
    }

    async fn release_token(&self) -> Result<(), ClientError> {
        match self.agent.release().await {
            Err(dead) if dead.status() == Some(401) => Ok(()),
            released => released,
        }
    }
}
