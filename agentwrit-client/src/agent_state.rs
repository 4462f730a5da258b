//! States of an agent that is kept alive.

use std::sync::Arc;

use crate::{agent::Agent, error::ClientError};

/// State of an agent that is kept alive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AgentState {
    /// The agent has a token. A renewal gives the same agent another token, a registration gives another agent.
    Live(Agent),
    /// The agent has no valid token, for this reason, and tries to get one.
    Recovering(Arc<ClientError>),
    /// The agent has no valid token, for this reason, and will not get another.
    Ended(Arc<ClientError>),
    /// The agent was released, or its last handle was dropped.
    Released,
}

impl AgentState {
    /// Returns the agent, if it has a token.
    #[must_use]
    pub fn agent(&self) -> Option<&Agent> {
        match self {
            Self::Live(agent) => Some(agent),
            Self::Recovering(_) | Self::Ended(_) | Self::Released => None,
        }
    }
}
