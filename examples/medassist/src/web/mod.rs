//! Pages of the demo, and what their script asks for.
//!
//! 1. The pages have the operator's power. They are for the loopback interface: a request that names another host, or that
//!    another site's page sends, is rejected.
//! 2. The script gets JSON and writes it as text, never as HTML; no other origin takes part.

use std::{sync::Arc, time::Duration};

use agent_model::Description;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    middleware,
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::{error::WebError, kept::Kept};
use crate::{
    assistant::{self, MAX_REQUEST, Parties, SCENARIOS},
    store::patients::Patient,
};

mod assets;
mod encounters;
mod error;
mod guard;
mod kept;
mod operator;

/// Largest number of simultaneous encounters.
const MAX_ENCOUNTERS: usize = 16;

/// Settings of the pages.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "the program sets each")]
pub struct WebOptions {
    /// Pause between steps, for the eye.
    pub pace: Duration,
    /// Names of hosts beside those of the loopback interface.
    pub hosts: Vec<String>,
}

/// State of the handlers.
#[derive(Clone, Debug)]
struct Web {
    parties: Parties,
    pace: Duration,
    kept: Kept,
    encounters: Arc<Semaphore>,
}

/// Builds the pages.
pub fn pages(parties: Parties, options: WebOptions) -> Router {
    let encounters = Arc::new(Semaphore::new(MAX_ENCOUNTERS));
    let web = Web { parties, pace: options.pace, kept: Kept::default(), encounters };
    Router::new()
        .route("/api/setup", get(setup))
        .route("/api/encounters", post(encounters::play))
        .route("/api/encounters/{id}/cards", get(encounters::cards))
        .route("/api/operator", get(operator::overview))
        .route("/api/audit", get(operator::audit))
        .route("/api/revocations", post(operator::revoke))
        .layer(DefaultBodyLimit::max(4 * MAX_REQUEST))
        .with_state(web)
        .merge(assets::routes())
        .layer(middleware::from_fn_with_state(options.hosts.into(), guard::guard))
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

async fn setup(State(web): State<Web>) -> Result<Json<Setup>, WebError> {
    let model: &Description = web.parties.model.description();
    Ok(Json(Setup {
        model: model.to_string(),
        is_language_model: model.is_language_model(),
        scenarios: json!(SCENARIOS),
        patients: web.parties.store.patients().await?,
        tools: assistant::specs().iter().map(|tool| tool.name).collect(),
        has_operator: web.parties.admin.is_some(),
        max_request: MAX_REQUEST,
    }))
}
