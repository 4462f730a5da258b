//! Task that keeps an agent alive, as [`RenewalSchedule`] decides.

use std::{sync::Arc, time::Duration};

use agentwrit_verify::{Clock, UnixTime, http_client::random_fraction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    agent::Agent,
    agent_state::AgentState,
    error::ClientError,
    renewal_schedule::{RenewalSchedule, Step},
    repeatable_registration::RepeatableRegistration,
};

/// Maximum time between two reads of the wall clock, which runs on while a machine sleeps; timers don't.
const MAX_SLEEP: Duration = Duration::from_secs(30);

/// Timeout for the best-effort release after the last handle is dropped.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Request for a release, and the channel of its result.
pub(crate) type ReleaseRequest = oneshot::Sender<Result<(), ClientError>>;

/// Keeps one agent alive until it is released, or its last handle is dropped.
pub(crate) struct RenewalTask {
    agent: Agent,
    /// The registration to repeat.
    request: Option<RepeatableRegistration>,
    schedule: RenewalSchedule,
    state: watch::Sender<AgentState>,
    releases: mpsc::Receiver<ReleaseRequest>,
}

/// Reason for which the task stops.
enum StopReason {
    Release(ReleaseRequest),
    HandlesDropped,
    Ended,
}

impl RenewalTask {
    pub(crate) fn new(
        agent: Agent,
        request: Option<RepeatableRegistration>,
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

    /// Waits until either clock reaches `due`: the wall clock may be set back, the monotonic one stops while the
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
                let for_good = request.is_refused_for_good(&error);
                self.schedule.registration_failed(error, for_good, now, random_fraction());
            }
        }
        self.publish(registered);
    }

    /// Publishes a new token, or the lack of one.
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

    /// Waits for another request after a failure, because callers may repeat it.
    async fn release(mut self, release: ReleaseRequest) {
        self.state.send_replace(AgentState::Released);
        let mut asked = release;
        loop {
            let released = self.release_token().await;
            let done = released.is_ok();
            // The caller may be gone.
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

    /// Tries once, within `RELEASE_TIMEOUT`.
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
