//! Pages of the demo, and what their script asks for.
//!
//! 1. The pages have the operator's power. They are for the loopback interface: a request that names another host, or that
//!    another site's page sends, is rejected.
//! 2. The script gets JSON and writes it as text, never as HTML; no other origin takes part.

use std::time::Duration;

use agent_model::Description;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use demo_common::{
    runs::Runs,
    web::{PageError, asset_routes, confined, operator_routes},
};
use serde::Serialize;
use serde_json::{Value, json};

use self::registry::Registry;
use crate::{
    assistant::{self, MAX_REQUEST, Parties, SCENARIOS},
    store::patients::Patient,
};

mod assets;
mod encounters;
mod registry;

/// Largest number of simultaneous encounters.
pub const MAX_ENCOUNTERS: u16 = 16;

/// Settings of the pages.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the program sets each")]
pub struct WebOptions {
    /// Pause between steps, for the eye.
    pub pace: Duration,
    /// Names of hosts beside those of the loopback interface.
    pub hosts: Vec<String>,
    /// Places of simultaneous encounters. The program stops them.
    pub runs: Runs,
}

impl Default for WebOptions {
    fn default() -> Self {
        Self { pace: Duration::ZERO, hosts: Vec::new(), runs: Runs::new(MAX_ENCOUNTERS) }
    }
}

/// State of the handlers.
#[derive(Clone, Debug)]
struct Web {
    parties: Parties,
    pace: Duration,
    registry: Registry,
    runs: Runs,
}

/// Builds the pages.
pub fn pages(parties: Parties, options: WebOptions) -> Router {
    let broker = parties.broker.clone();
    let web = Web { parties, pace: options.pace, registry: Registry::default(), runs: options.runs };
    let routes = Router::new()
        .route("/api/setup", get(setup))
        .route("/api/encounters", post(encounters::play))
        .route("/api/encounters/{id}/cards", get(encounters::cards))
        .layer(DefaultBodyLimit::max(4 * MAX_REQUEST))
        .with_state(web)
        .merge(operator_routes(broker))
        .merge(asset_routes(&assets::ASSETS));
    confined(routes, options.hosts)
}

/// Contents of the page before the first encounter.
#[derive(Serialize)]
struct Setup {
    model: String,
    is_language_model: bool,
    scenarios: Value,
    patients: Vec<Patient>,
    tools: Vec<&'static str>,
    has_operator: bool,
    max_request: usize,
}

async fn setup(State(web): State<Web>) -> Result<Json<Setup>, PageError> {
    let model: &Description = web.parties.model.description();
    Ok(Json(Setup {
        model: model.to_string(),
        is_language_model: model.is_language_model(),
        scenarios: json!(SCENARIOS),
        patients: web
            .parties
            .store
            .patients()
            .await
            .map_err(|_| PageError::Internal("the hospital's database failed"))?,
        tools: assistant::specs().iter().map(|tool| tool.name).collect(),
        has_operator: web.parties.broker.admin.is_some(),
        max_request: MAX_REQUEST,
    }))
}
