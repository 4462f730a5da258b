//! Agents that are kept alive: renewed and registered again in the background.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    agent::Agent, agent_request::AgentRequest, agent_state::AgentState, attested::AttestedAgentRequest,
    error::ClientError, renewal_task::RenewalTask, repeatable_registration::RepeatableRegistration,
};

impl AgentRequest {
    /// Keeps the agent alive: a background task renews its token in time and, if the broker rejects that, registers the
    /// agent again. [`KeepAlive::start`] registers it first.
    pub fn keep_alive(self) -> KeepAlive {
        KeepAlive { origin: Origin::Request(Box::new(RepeatableRegistration::App(self))), reregisters: true }
    }
}

impl AttestedAgentRequest {
    /// Keeps the agent alive: a background task renews its token in time and, if the broker rejects that, registers the
    /// agent again with another assertion. [`KeepAlive::start`] registers it first.
    ///
    /// Registrations go on until the source has another assertion and the broker accepts it; with a source of only one
    /// assertion the agent ends instead.
    pub fn keep_alive(self) -> KeepAlive {
        KeepAlive { origin: Origin::Request(Box::new(RepeatableRegistration::Attested(self))), reregisters: true }
    }
}

impl Agent {
    /// Keeps this agent's token alive as long as the broker renews it. It cannot be registered again: a rejected
    /// renewal ends it.
    pub fn keep_alive(self) -> KeepAlive {
        KeepAlive { origin: Origin::Agent(self), reregisters: false }
    }
}

/// Settings of an agent to be kept alive.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeepAlive {
    origin: Origin,
    reregisters: bool,
}

#[derive(Clone, Debug)]
enum Origin {
    Request(Box<RepeatableRegistration>),
    Agent(Agent),
}

impl KeepAlive {
    /// Ends when the broker rejects a renewal, instead of registering again.
    ///
    /// An operator who revokes the agent then ends its work. By default the agent registers again under a new id, after
    /// a delay that grows each time; to end it, the operator deregisters the app.
    pub fn without_reregistration(mut self) -> Self {
        self.reregisters = false;
        self
    }

    /// Registers the agent, unless it exists, and starts the background task on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// The errors of [`AgentRequest::create`] or [`AttestedAgentRequest::create`]: without an agent, nothing is started.
    ///
    /// # Panics
    ///
    /// Panics when awaited outside of a Tokio runtime, like every method of this crate.
    pub async fn start(self) -> Result<LiveAgent, ClientError> {
        let (agent, request) = match self.origin {
            Origin::Request(request) => (request.register().await?, Some(*request)),
            Origin::Agent(agent) => (agent, None),
        };
        let (publisher, state) = watch::channel(AgentState::Live(agent.clone()));
        let (release, releases) = mpsc::channel(1);
        let clock = Arc::clone(agent.clock());
        let task = RenewalTask::new(agent, request.filter(|_| self.reregisters), publisher, releases);
        tokio::spawn(task.run());
        Ok(LiveAgent { state, release, clock })
    }
}

/// Agent that is kept alive: renewed in time, registered again where necessary, released at the end.
///
/// 1. The token is renewed at 80 % of its lifetime, or a little earlier. While the broker is unreachable, the renewal
///    is tried again until the token expires. A machine that slept renews within 30 s of waking.
/// 2. When the broker rejects a renewal (the response to an earlier one was lost, and the old token with it; the agent
///    was revoked; its token expired; its session has ended: `AA_MAX_TTL`), the same request is registered again:
///    **another agent with another id**, which holds none of the delegations of the old one. An operator who revokes
///    the agent therefore ends its token but not its work. Deregistering the app ends it, and so does
///    [`without_reregistration`](KeepAlive::without_reregistration).
/// 3. Clones are cheap and are the same agent. [`release`](Self::release) releases it and stops the task. When the last
///    clone is dropped instead, the task releases it in the background, if the runtime still runs: once, for at most 5
///    s; only the log has the result.
///
/// ```no_run
/// # async fn example(app: agentwrit_client::App, http: reqwest::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let agent = app.agent("billing", "nightly").scope(["read:invoices:*"])?.keep_alive().start().await?;
/// loop {
///     let request = http.get("https://invoices.example/next").header("Authorization", agent.authorization()?);
///     if request.send().await?.status() == 204 {
///         break;
///     }
/// }
/// agent.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LiveAgent {
    state: watch::Receiver<AgentState>,
    release: mpsc::Sender<crate::renewal_task::ReleaseRequest>,
    clock: Arc<dyn agentwrit_verify::Clock>,
}

impl LiveAgent {
    /// Returns the headers of one request, as [`Agent::request_headers`] does: with a proof if the token is bound.
    ///
    /// # Errors
    ///
    /// The error of the last attempt to get a token, or [`ClientError::NoToken`], while there is no valid one; the
    /// errors of [`Agent::request_headers`].
    pub fn request_headers(&self, method: &Method, url: &str) -> Result<HeaderMap, ClientError> {
        self.agent()?.request_headers(method, url)
    }

    /// Returns the value of the `Authorization` header, with the current token, marked as sensitive. Call it for each
    /// request. For a bound token it is half of what a request needs: see [`request_headers`](Self::request_headers).
    ///
    /// # Errors
    ///
    /// The error of the last attempt to get a token, or [`ClientError::NoToken`], while there is no valid one.
    pub fn authorization(&self) -> Result<HeaderValue, ClientError> {
        Ok(self.agent()?.authorization())
    }

    /// Returns the current agent. A registration replaces it, so call this again for later requests.
    ///
    /// # Errors
    ///
    /// The error of the last attempt to get a token, or [`ClientError::NoToken`], while there is no valid one.
    pub fn agent(&self) -> Result<Agent, ClientError> {
        match &*self.state.borrow() {
            AgentState::Live(agent) if self.clock.now() < agent.expires_at() => Ok(agent.clone()),
            AgentState::Live(_) => Err(ClientError::no_token("it has expired")),
            AgentState::Recovering(reason) | AgentState::Ended(reason) => Err(ClientError::clone(reason)),
            AgentState::Released => Err(ClientError::no_token("it was released")),
        }
    }

    /// Subscribes to the agent's state, which changes with each new token and each loss of one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<AgentState> {
        self.state.clone()
    }

    /// Stops the task and releases the token, which ends it, without a successor. Waits for a pending request.
    /// Idempotent.
    ///
    /// # Errors
    ///
    /// Any error of the network, after which the token may or may not have been released: repeat it.
    pub async fn release(&self) -> Result<(), ClientError> {
        let (release, released) = oneshot::channel();
        if self.release.send(release).await.is_ok()
            && let Ok(released) = released.await
        {
            return released;
        }
        match &*self.state.borrow() {
            AgentState::Released | AgentState::Ended(_) => Ok(()),
            AgentState::Live(_) | AgentState::Recovering(_) => {
                Err(ClientError::aborted("the runtime of the agent has ended"))
            }
        }
    }
}

impl fmt::Debug for LiveAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveAgent").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}
