//! An agent that is kept alive.

use std::{fmt, sync::Arc};

use http::HeaderValue;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{agent::Agent, agent_request::AgentRequest, error::ClientError, renewal_task::RenewalTask};

impl AgentRequest {
    /// Keeps the agent alive for as long as it is wanted: a task in the background renews its token in time and, if the
    /// broker refuses that, registers it anew. [`KeepAlive::start`] registers it.
    pub fn keep_alive(self) -> KeepAlive {
        KeepAlive { origin: Origin::Request(Box::new(self)), reregisters: true }
    }
}

impl Agent {
    /// Keeps this agent's token alive for as long as it is wanted and the broker renews it. It can't be registered
    /// anew: when the broker refuses, it ends.
    pub fn keep_alive(self) -> KeepAlive {
        KeepAlive { origin: Origin::Agent(self), reregisters: false }
    }
}

/// An agent about to be kept alive.
#[derive(Clone, Debug)]
#[must_use]
pub struct KeepAlive {
    origin: Origin,
    reregisters: bool,
}

#[derive(Clone, Debug)]
enum Origin {
    Request(Box<AgentRequest>),
    Agent(Agent),
}

impl KeepAlive {
    /// Ends when the broker refuses to renew, instead of registering anew.
    ///
    /// This is how an operator who revokes the agent has the last word. Without it the agent comes back under a new id,
    /// after a pause that grows each time; to end it, the operator deletes the app.
    pub fn without_reregistration(mut self) -> Self {
        self.reregisters = false;
        self
    }

    /// Registers the agent, if there is none yet, and starts to keep it alive on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`AgentRequest::create`]: if there is no agent to begin with, nothing is started.
    ///
    /// # Panics
    ///
    /// When awaited outside a Tokio runtime, as all of this crate.
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

/// What became of an agent that is kept alive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentState {
    /// It has a token. After a renewal it is the same agent with another token, after a registration another agent.
    Live(Agent),
    /// It has no valid token, because of this, and tries to get one.
    Recovering(Arc<ClientError>),
    /// It has no valid token, because of this, and will not get another.
    Ended(Arc<ClientError>),
    /// It was released, or everybody has dropped it.
    Released,
}

impl AgentState {
    /// The agent, if it has a token.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        match self {
            Self::Live(agent) => Some(agent),
            Self::Recovering(_) | Self::Ended(_) | Self::Released => None,
        }
    }
}

/// An agent that is kept alive: renewed in time, registered anew if it must be, released in the end.
///
/// 1. The token is renewed at 80 % of its lifetime, or a little earlier. If the broker can't be reached that is tried
///    again until the token expires. A machine that slept renews within 30 s of waking.
/// 2. When the broker refuses (the response to a renewal was lost, and the old token with it; the agent was revoked, its token expired, its session is over: `AA_MAX_TTL`) the same
///    request is registered again: **another agent with another id**, which holds none of the delegations of the
///    old one. An operator who revokes the agent therefore ends its token but not its work. Deleting the app ends it,
///    and so does [`without_reregistration`](KeepAlive::without_reregistration).
/// 3. Clones are cheap and mean the same agent. [`release`](Self::release) gives it back and stops all of this. When the
///    last clone is dropped instead, the task does so in the background, if the runtime still runs: once, for at most
///    5 s, with nobody to tell how it went.
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
    /// The value of the `Authorization` header: `Bearer` and the token as it is now, marked as sensitive. Ask for it
    /// for each request.
    ///
    /// # Errors
    ///
    /// Why there is no valid token now: what the last attempt to get one came to, or [`ClientError::NoToken`].
    pub fn authorization(&self) -> Result<HeaderValue, ClientError> {
        Ok(self.agent()?.authorization())
    }

    /// The agent as it is now. After a registration it is another one, so ask again.
    ///
    /// # Errors
    ///
    /// Why it has no valid token now: what the last attempt to get one came to, or [`ClientError::NoToken`].
    pub fn agent(&self) -> Result<Agent, ClientError> {
        match &*self.state.borrow() {
            AgentState::Live(agent) if self.clock.now() < agent.expires_at() => Ok(agent.clone()),
            AgentState::Live(_) => Err(ClientError::no_token("it has expired")),
            AgentState::Recovering(reason) | AgentState::Ended(reason) => Err(ClientError::clone(reason)),
            AgentState::Released => Err(ClientError::no_token("it was released")),
        }
    }

    /// What became of the agent, and whatever becomes of it: each token is announced, and each loss of one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<AgentState> {
        self.state.clone()
    }

    /// Stops to keep the agent alive and gives its token back: it is dead from now on, and no other follows. Waits for
    /// what is under way. Repeating it is harmless.
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
