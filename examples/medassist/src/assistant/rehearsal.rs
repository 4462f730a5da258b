//! The page's scenarios on the terminal, each compared with the steps that it must show.

use std::time::Duration;

use demo_common::runs::Runs;
use tokio::sync::mpsc;

use super::{EncounterRequest, Page, Parties, SCENARIOS, Scenario, Step, StepKind, StepStatus, play};

/// Time to take a step: the reader is in this program.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays every scenario and prints its steps. Returns whether each showed what it must.
pub async fn rehearse(parties: &Parties) -> bool {
    let mut shown = 0;
    for scenario in &SCENARIOS {
        println!("\n{}: {} \"{}\"", scenario.title, scenario.patient_id, scenario.request);
        let steps = steps_of(parties, scenario).await;
        for step in &steps {
            println!("  {:>2} {:<9} {}", step.number, format!("{:?}", step.status).to_lowercase(), step.title);
        }
        match missing(scenario, &steps) {
            None => shown += 1,
            Some((kind, status)) => println!("  <- NOT as expected: no {kind:?} with {status:?} where it belongs"),
        }
    }
    println!("\n{shown} of {} scenarios as expected", SCENARIOS.len());
    shown == SCENARIOS.len()
}

async fn steps_of(parties: &Parties, scenario: &Scenario) -> Vec<Step> {
    let request = EncounterRequest {
        patient_id: scenario.patient_id.to_owned(),
        request: scenario.request.to_owned(),
        takeover: scenario.takeover,
        ..EncounterRequest::default()
    };
    let (steps, mut received) = mpsc::channel(1);
    let page = Page { steps, pace: Duration::ZERO, patience: PATIENCE, runs: Runs::new(1) };
    let collected = async {
        let mut steps = Vec::new();
        while let Some(step) = received.recv().await {
            steps.push(step);
        }
        steps
    };
    tokio::join!(play(parties, &request, page), collected).1
}

/// Returns the first step that a scenario must show and does not, in the order of its list.
fn missing(scenario: &Scenario, steps: &[Step]) -> Option<(StepKind, StepStatus)> {
    let mut rest = steps.iter();
    let is_missing =
        |(kind, status): &&(StepKind, StepStatus)| !rest.any(|step| step.kind == *kind && step.status == *status);
    if let Some(error) = steps.iter().find(|step| step.status == StepStatus::Error) {
        return Some((error.kind, error.status));
    }
    scenario.shows.iter().find(is_missing).copied()
}
