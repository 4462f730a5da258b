//! An encounter that a language model drives, or a planner in its place.
//!
//! 1. An agent is created the first time a tool of its category is called, with the scopes of that category's tools for
//!    the patient of the encounter. A patient whom the hospital does not know gets no agent.
//! 2. The model chooses tools and arguments freely. No check of this program stands between it and the hospital: each call
//!    is a request with the token of the category's agent, and the hospital's 403 names the rule that refused it.
//! 3. When the hospital asks for a scope that an agent lacks, the clinical agent is asked to delegate it. The broker
//!    decides; the delegated token is used and released.
//! 4. Credentials end with the encounter, also when its page has been closed.

use std::sync::Arc;

use agent_model::Model;
use demo_common::{broker::ConnectedApp, service_client::ServiceClient};

mod agents;
mod cleanup;
mod planner;
mod rehearsal;
mod run;
mod scenarios;
mod step;
mod takeover;
mod tool_calls;
mod tools;

pub use self::{
    planner::planner,
    rehearsal::rehearse,
    run::{EncounterRequest, Ended, MAX_REQUEST, Page, play},
    scenarios::{SCENARIOS, Scenario},
    step::{Card, CardState, Field, Rule, Step, StepKind, StepStatus},
    tools::{Category, specs},
};
use crate::{Failure, Store, hospital::Hospital};

/// Parties of an encounter.
#[derive(Clone, Debug)]
pub struct Parties {
    /// App that creates the agents, and the operator for the takeover.
    pub broker: ConnectedApp,
    /// Model or planner.
    pub model: Arc<dyn Model>,
    pub(crate) store: Store,
    pub(crate) hospital: ServiceClient,
}

impl Parties {
    /// Builds the parties of encounters at a hospital.
    ///
    /// # Errors
    ///
    /// When the hospital's HTTP client cannot be built.
    pub fn new(app: &ConnectedApp, hospital: &Hospital, model: Arc<dyn Model>) -> Result<Self, Failure> {
        let (store, client) = (hospital.store().clone(), hospital.client()?);
        Ok(Self { broker: app.clone(), model, store, hospital: client })
    }
}
