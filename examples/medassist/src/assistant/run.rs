//! Course of an encounter: patient, broker, the model's rounds, clean-up.

use std::time::{Duration, Instant};

use agent_model::Message;
use agentwrit_client::Agent;
use demo_common::{random_hex, runs::Runs};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::mpsc::Sender, time::timeout};

use super::{
    CardState, Parties,
    agents::Team,
    cleanup, specs,
    step::{NewStep, Step, StepKind, StepStatus},
    takeover, tool_calls,
};
use crate::{Failure, PatientId};

/// Largest number of replies of the model.
const MAX_ROUNDS: usize = 10;

/// Largest number of tool calls of one reply.
const MAX_CALLS: usize = 16;

/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 16 * 1024;

/// Request for an encounter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "the members are the page's form")]
pub struct EncounterRequest {
    /// Patient of the encounter, in any form.
    pub patient_id: String,
    /// Task in free text.
    pub request: String,
    /// Leaves the agents live at the end.
    #[serde(default)]
    pub keep_agents: bool,
    /// Has the clinical agent's token stolen, and revoked by the operator.
    #[serde(default)]
    pub takeover: bool,
    /// Lifetime of the agents' tokens in seconds. Default: 300.
    #[serde(default)]
    pub ttl: Option<u64>,
}

/// Page that shows an encounter, and the limits of the wait for it.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "each caller sets all")]
pub struct Page {
    /// Reader of the steps.
    pub steps: Sender<Step>,
    /// Pause after each step, for the eye.
    pub pace: Duration,
    /// Time for the reader to take a step. A page that is slower counts as closed.
    pub patience: Duration,
    /// Runs of the program, which may stop.
    pub runs: Runs,
}

/// Credentials of an encounter at its end, by the keys of their cards.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ended {
    /// Agents whose tokens are live: kept, or not released because the broker did not respond.
    pub live: Vec<(&'static str, Agent)>,
    /// States of the other credentials.
    pub states: Vec<(&'static str, CardState)>,
}

/// Encounter in progress.
pub(super) struct Run<'a> {
    pub(super) parties: &'a Parties,
    pub(super) patient: PatientId,
    /// Ending of the agents' tasks, so that a task belongs to one encounter.
    pub(super) unique: String,
    pub(super) ttl: Duration,
    pub(super) team: Team,
    steps: Steps,
}

/// Sender of numbered steps.
struct Steps {
    sent: usize,
    started: Instant,
    page: Page,
    is_abandoned: bool,
}

impl Steps {
    async fn send(&mut self, step: NewStep) {
        let NewStep { kind, status, agent, title, fields, rule, cards } = step;
        self.sent += 1;
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let step = Step { number: self.sent, at_ms, kind, status, agent, title, fields, rule, cards };
        // Without a reader the encounter goes on to its clean-up.
        if self.is_abandoned {
            return;
        }
        match timeout(self.page.patience, self.page.steps.send(step)).await {
            Ok(Ok(())) if self.page.pace.is_zero() || self.page.runs.is_stopping() => {}
            Ok(Ok(())) => tokio::time::sleep(self.page.pace).await,
            Ok(Err(_)) | Err(_) => self.is_abandoned = true,
        }
    }

    fn is_watched(&self) -> bool {
        !self.is_abandoned && !self.page.steps.is_closed() && !self.page.runs.is_stopping()
    }

    /// Waits until the page is closed or the program stops.
    async fn unwatched(&self) {
        tokio::select! {
            () = self.page.steps.closed() => {}
            () = self.page.runs.stopped() => {}
        }
    }
}

impl Run<'_> {
    pub(super) async fn send(&mut self, step: NewStep) {
        self.steps.send(step).await;
    }

    pub(super) fn is_watched(&self) -> bool {
        self.steps.is_watched()
    }
}

/// Plays an encounter and sends each step to the page. Returns the credentials as they are at the end.
pub async fn play(parties: &Parties, request: &EncounterRequest, page: Page) -> Ended {
    let mut steps = Steps { sent: 0, started: Instant::now(), page, is_abandoned: false };
    let Some(patient) = known_patient(parties, &request.patient_id, &mut steps).await else {
        return Ended::default();
    };
    let Ok(unique) = random_hex::<4>() else {
        steps.send(NewStep::new(StepKind::Error, StepStatus::Error, "The system has no randomness")).await;
        return Ended::default();
    };
    let ttl = Duration::from_secs(request.ttl.unwrap_or(300));
    let mut run = Run { parties, patient, unique, ttl, team: Team::default(), steps };
    let outcome = rounds(&mut run, &request.request).await;
    if let Err(failure) = outcome {
        run.send(NewStep::new(StepKind::Error, StepStatus::Error, format!("The encounter stopped: {failure}"))).await;
    } else if request.takeover && run.is_watched() {
        takeover::play(&mut run).await;
    }
    if request.keep_agents && run.is_watched() {
        let title = "Agents stay live until their tokens expire or the operator revokes them";
        run.send(NewStep::new(StepKind::Kept, StepStatus::Warning, title)).await;
    } else {
        cleanup::release_all(&mut run).await;
    }
    complete(&mut run).await;
    run.team.into_ended()
}

async fn known_patient(parties: &Parties, named: &str, steps: &mut Steps) -> Option<PatientId> {
    let id = PatientId::parse(named.trim());
    let found = match &id {
        Some(id) => parties.store.patient(id).await,
        None => Ok(None),
    };
    match (id, found) {
        (Some(id), Ok(Some(patient))) => {
            let step = NewStep::new(StepKind::PatientFound, StepStatus::Info, format!("The hospital knows {id}"));
            let patient = json!(patient);
            let field = |name: &str| patient.get(name).cloned().unwrap_or_default();
            steps
                .send(step.field("name", field("name")).field("born", field("born")).field("ward", field("ward")))
                .await;
            Some(id)
        }
        (_, Ok(_)) => {
            let title = "The hospital does not know this patient: no agent was created, no model was asked";
            let known = parties.store.patients().await.map(|patients| json!(patients)).unwrap_or_default();
            let step = NewStep::new(StepKind::PatientUnknown, StepStatus::Warning, title);
            steps.send(step.field("patient", named).field("known patients", known)).await;
            let title = "Complete: 0 agents created";
            steps.send(NewStep::new(StepKind::Complete, StepStatus::Info, title)).await;
            None
        }
        (_, Err(error)) => {
            steps.send(NewStep::new(StepKind::Error, StepStatus::Error, format!("The hospital failed: {error}"))).await;
            None
        }
    }
}

/// Lets the model call tools until it replies without a call.
async fn rounds(run: &mut Run<'_>, request: &str) -> Result<(), Failure> {
    let health = run.parties.broker.app.client().health().await?;
    let step = NewStep::new(StepKind::BrokerHealth, StepStatus::Info, format!("The broker is {}", health.status));
    run.send(step.field("broker", run.parties.broker.app.client().url()).field("version", health.version)).await;

    let (model, tools) = (run.parties.model.clone(), specs());
    let names: Vec<_> = tools.iter().map(|tool| tool.name).collect();
    let step = NewStep::new(StepKind::ModelStarted, StepStatus::Info, model.description().to_string());
    run.send(step.field("request", request).field("tools", json!(names))).await;

    let instructions = format!(
        "You assist the staff of a hospital. The patient of this encounter is {}. Call tools to do what the request asks, and \
         nothing else; a refused call is final. Then reply with a short summary in plain text.",
        run.patient
    );
    let mut messages = vec![Message::System(instructions), Message::User(request.to_owned())];
    for _ in 0..MAX_ROUNDS {
        if !run.is_watched() {
            return Ok(());
        }
        let mut reply = tokio::select! {
            reply = model.complete(&messages, &tools) => reply?,
            () = run.steps.unwatched() => return Ok(()),
        };
        reply.calls.truncate(MAX_CALLS);
        let calls = reply.calls.clone();
        if calls.is_empty() {
            let text = reply.text.filter(|text| !text.trim().is_empty());
            let text = text.unwrap_or_else(|| "The model replied with nothing.".to_owned());
            let step = NewStep::new(StepKind::Answer, StepStatus::Success, "Reply");
            run.send(step.field("text", text)).await;
            return Ok(());
        }
        messages.push(reply.into());
        for call in calls {
            let content = tool_calls::execute(run, &call).await?;
            messages.push(Message::Tool { call_id: call.id, content });
        }
    }
    let title = format!("The model asked for more than {MAX_ROUNDS} rounds of tool calls");
    run.send(NewStep::new(StepKind::Error, StepStatus::Error, title)).await;
    Ok(())
}

async fn complete(run: &mut Run<'_>) {
    let created = run.team.created();
    let plural = if created == 1 { "agent" } else { "agents" };
    let title = format!("Complete: {created} {plural} created");
    run.send(NewStep::new(StepKind::Complete, StepStatus::Info, title)).await;
}
