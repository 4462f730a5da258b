//! Run of one ticket: triage, identity gate, knowledge, response; then every token is presented once more and must be rejected.
//!
//! 1. Each agent is registered when its step begins, with the scopes of this ticket only.
//! 2. No agent with a customer's scope exists before the sender's address was found to be that customer's.
//! 3. Every agent is released when the run ends, after a failure too, except the one that shows natural expiry.
//! 4. Every token of the run is presented to service and broker afterwards; both must refuse it.

mod agents;
mod event;
mod log;
mod steps;

use std::time::Duration;

use agent_model::ModelError;
use demo_common::{random_hex, service_client::ServiceUnreachable};

use self::{agents::Agents, steps::Steps};
pub use self::{
    event::{Event, EventKind, Outcome, Role},
    log::RunLog,
};
use crate::{Failure, desk::Desk};

/// Ticket to be filed and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTicket {
    /// Sender's address.
    pub sender: String,
    /// True if the mail gateway authenticated it.
    pub authenticated: bool,
    /// Subject.
    pub subject: String,
    /// Text.
    pub text: String,
    /// True if the triage agent's token is left to expire.
    pub expires: bool,
}

impl From<&crate::PreparedTicket> for NewTicket {
    fn from(ticket: &crate::PreparedTicket) -> Self {
        Self {
            sender: ticket.sender.to_owned(),
            authenticated: true,
            subject: ticket.subject.to_owned(),
            text: ticket.text.to_owned(),
            expires: ticket.expires,
        }
    }
}

/// Files a ticket and answers it. The log gets every step, and ends with [`EventKind::Finished`].
pub async fn run(desk: &Desk, ticket: &NewTicket, log: &RunLog) {
    let ticket_id = desk.store().file_ticket(&ticket.sender, ticket.authenticated, &ticket.subject, &ticket.text);
    let task = match task_id(&ticket_id) {
        Ok(task) => task,
        Err(error) => {
            log.record(EventKind::Failed { error: error.to_string() });
            return log.finish(Outcome::Failed, 0, 0);
        }
    };
    log.record(EventKind::Started {
        ticket: ticket_id.clone(),
        task: task.clone(),
        sender: ticket.sender.clone(),
        subject: ticket.subject.clone(),
        text: ticket.text.clone(),
        model: desk.model().description().to_string(),
    });
    let mut agents = Agents::new(desk, log, task);
    let steps = Steps { desk, log, ticket_id: &ticket_id, expires: ticket.expires };
    let outcome = match steps.play(&mut agents).await {
        Ok(outcome) => outcome,
        Err(failure) => {
            log.record(EventKind::Failed { error: failure.to_string() });
            match failure {
                StepError::TokenEnded(role) => {
                    agents.refused(role);
                    Outcome::TokenEnded
                }
                StepError::Model(_) | StepError::Stopping | StepError::Other(_) => Outcome::Failed,
            }
        }
    };
    agents.end().await;
    let (rejected, tokens) = (agents.present_ended().await, agents.count());
    let outcome = if rejected == tokens { outcome } else { Outcome::Failed };
    log.finish(outcome, tokens, rejected);
}

/// Failure of a step.
#[derive(Debug)]
enum StepError {
    Model(ModelError),
    Other(Failure),
    /// The token of this role is refused before the role's work is done.
    TokenEnded(Role),
    /// The program ends.
    Stopping,
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Other(failure) => failure.fmt(f),
            Self::TokenEnded(role) => write!(f, "the {role} token was revoked or has expired: the run stops"),
            Self::Stopping => f.write_str("the desk is stopping"),
        }
    }
}

impl From<ModelError> for StepError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<ServiceUnreachable> for StepError {
    fn from(error: ServiceUnreachable) -> Self {
        Self::Other(error.into())
    }
}

/// Task of a run: unlike the ticket's id unique across restarts, so that a revoked task ends one run only.
fn task_id(ticket_id: &str) -> Result<String, Failure> {
    Ok(format!("{ticket_id}-{}", random_hex::<6>()?))
}

/// Lifetime of the tokens of all agents but the one that is left to expire.
const LIFETIME: Duration = Duration::from_secs(300);
