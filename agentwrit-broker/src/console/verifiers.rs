//! `/console/verifiers`: services that report what they apply.

use agentwrit_protocol::{JsonRequest, VerifierEnrolmentRequest};
use agentwrit_verify::report::{ReportedBound, VerifierName};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use serde_json::json;

use super::{
    Console,
    error::ConsoleError,
    fields::Action,
    format::Time,
    frame::Frame,
    page::{Operator, render},
};
use crate::http::HttpError;

#[derive(Template)]
#[template(path = "console/verifiers.html")]
struct VerifiersPage {
    frame: Frame,
    cursor: String,
    followers: usize,
    verifiers: Vec<VerifierSection>,
}

struct VerifierSection {
    name: String,
    max_bound: String,
    added: Time,
    removed: Option<Time>,
    instances: Vec<InstanceRow>,
}

struct InstanceRow {
    id: String,
    heard: Time,
    /// Entries of the log that it has not applied; none for another log.
    behind: Option<u64>,
    bound: String,
    is_leaving: bool,
}

pub(super) async fn list(State(console): State<Console>, operator: Operator) -> Result<Response, ConsoleError> {
    let services = &console.services;
    let (now, end) = (services.ledger.now(), services.feed.end());
    let verifiers = services.verifiers.list().await?;
    let sections = verifiers.iter().map(|verifier| VerifierSection {
        name: verifier.enrolment.name.to_string(),
        max_bound: verifier.enrolment.max_bound.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s")),
        added: Time::new(verifier.enrolment.added_at, now),
        removed: verifier.enrolment.removed_at.map(|at| Time::new(at, now)),
        instances: verifier
            .instances
            .iter()
            .map(|state| {
                let is_same_log = *state.applied.epoch() == *end.epoch && !state.is_ahead;
                InstanceRow {
                    id: state.instance.to_string(),
                    heard: Time::new(state.heard_at, now),
                    behind: is_same_log.then(|| end.cursor.saturating_sub(state.applied.position())),
                    bound: match state.bound {
                        ReportedBound::Seconds(seconds) => format!("{seconds} s"),
                        ReportedBound::Unbounded => "none".to_owned(),
                    },
                    is_leaving: state.leaving,
                }
            })
            .collect(),
    });
    render(&VerifiersPage {
        frame: operator.frame("Verifiers"),
        cursor: format!("{}.{}", end.epoch, end.cursor),
        followers: services.feed.followers(),
        verifiers: sections.collect(),
    })
}

pub(super) async fn enrol(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let body = json!({
        "name": form.text("name"), "public_key": form.text("public_key"), "max_bound": form.number("max_bound")?,
    });
    let request = VerifierEnrolmentRequest::from_json(body.to_string().as_bytes());
    let request = request.map_err(|error| ConsoleError::Form(HttpError::from(error)))?;
    console.services.verifiers.enrol(operator.bearer(), request, operator.client).await?;
    Ok(Redirect::to("/console/verifiers").into_response())
}

pub(super) async fn remove(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let name = form.required("name", VerifierName::parse)?;
    console.services.verifiers.remove(operator.bearer(), name, operator.client).await?;
    Ok(Redirect::to("/console/verifiers").into_response())
}
