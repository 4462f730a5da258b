//! `/console/revoke`, with what would end before the button, and `/console/confirmation`, which shows it arrive.

use std::time::Duration;

use agentwrit_protocol::{ConfirmationResponse, RevocationRequest, RevocationTarget, limits::MAX_REASON};
use agentwrit_verify::{FeedCursor, Level, Subject, UnixTime, confirmation::ConfirmationState};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use http::HeaderMap;

use super::{
    Console,
    error::ConsoleError,
    fields::{Action, Fields, query},
    format::{Time, duration, number},
    frame::Frame,
    live::{LONGEST_WAIT, Live},
    page::{Operator, render},
    session::RevokedHere,
};
use crate::service::revocation::RevocationOutcome;

/// Levels of the form, with what each of them ends.
const LEVELS: [(&str, &str); 4] = [
    ("agent", "Agent: its tokens, those that it delegated; it never gets another"),
    ("task", "Task: every token of the task; the task can run again"),
    ("chain", "Chain: tokens of the agent and all delegated from them"),
    ("token", "Token: its session and everything delegated from it"),
];

#[derive(Template)]
#[template(path = "console/revoke.html")]
struct RevokePage {
    frame: Frame,
    level: String,
    target: String,
    preview: Option<Preview>,
    /// True if it ends the sessions of the operators, also this one.
    ends_session: bool,
    levels: [(&'static str, &'static str); 4],
}

/// Numbers of what a revocation would end.
struct Preview {
    known: bool,
    tokens: String,
    agents: String,
    tasks: String,
}

impl Preview {
    fn of(outcome: &RevocationOutcome) -> Self {
        Self {
            known: outcome.ended.revoked,
            tokens: number(outcome.ended.count),
            agents: number(outcome.agents),
            tasks: number(outcome.tasks),
        }
    }
}

pub(super) async fn page(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let (level, target) = (fields.shown("level"), fields.shown("target"));
    let preview = if target.is_empty() {
        None
    } else {
        let request = RevocationRequest { dry_run: true, ..request(&fields)? };
        let outcome = console.services.revocations.revoke(Subject::Admin, operator.bearer(), request, operator.client);
        Some(Preview::of(&outcome.await?))
    };
    let ends_session = match level.as_str() {
        "token" => [operator.bearer.session_id(), operator.bearer.token_id()].iter().any(|id| id.to_string() == target),
        _ => target == Subject::Admin.to_string(),
    };
    render(&RevokePage { frame: operator.frame("Revoke"), level, target, preview, ends_session, levels: LEVELS })
}

pub(super) async fn revoke(
    State(console): State<Console>,
    headers: HeaderMap,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let request = request(&form)?;
    let (level, target) = (request.level, request.text.clone());
    let done = console.services.revocations.revoke(Subject::Admin, operator.bearer(), request, operator.client).await?;
    if !done.ended.revoked {
        return Err(ConsoleError::NotFound { what: "nothing matches the target, and nothing was revoked" });
    }
    let (cursor, count) = (done.cursor, done.ended.count);
    let page = format!("/console/confirmation?{}", query("cursor", &cursor.to_string()));
    console.sessions.add_revocation(&headers, RevokedHere { cursor, level, target, count });
    Ok(Redirect::to(&page).into_response())
}

/// Reads the revocation that a form requests.
fn request(form: &Fields) -> Result<RevocationRequest, ConsoleError> {
    let level = form.required("level", |text| match text {
        "token" => Ok(Level::Token),
        "agent" => Ok(Level::Agent),
        "task" => Ok(Level::Task),
        "chain" => Ok(Level::Chain),
        _ => Err("must be token, agent, task or chain"),
    })?;
    let text = form.required("target", |text| Ok::<_, String>(text.to_owned()))?;
    let reason = form.parsed("reason", |text| match text {
        text if text.len() > MAX_REASON => Err(format!("must have at most {MAX_REASON} bytes")),
        text if text.contains('\0') => Err("must not contain U+0000".to_owned()),
        text => Ok(text.to_owned()),
    })?;
    let target = RevocationTarget::parse(level, &text);
    Ok(RevocationRequest { level, target, text, reason, wait: None, dry_run: false })
}

#[derive(Template)]
#[template(path = "console/confirmation.html")]
struct ConfirmationPage {
    frame: Frame,
    /// None if this session made no revocation at this place of the log: an address can name any.
    revoked: Option<RevokedHere>,
    cursor: String,
    state: ConfirmationState,
    verifiers: u64,
    confirmed: u64,
    fenced: u64,
    unenrolled: u64,
    elapsed: String,
    /// Time at which the last verifier stops by its bound; none if one has none.
    latest: Option<Time>,
    pending: Vec<PendingRow>,
    /// Version of what is shown, and seconds until the page requests the next one.
    version: String,
    pause: &'static str,
}

impl ConfirmationPage {
    /// Returns how many live tokens the revocation ended.
    fn count(&self) -> String {
        number(self.revoked.as_ref().map_or(0, |revoked| revoked.count))
    }

    fn is_pending(&self) -> bool {
        self.state == ConfirmationState::Pending
    }

    fn is_confirmed(&self) -> bool {
        self.state == ConfirmationState::Confirmed
    }

    /// Returns how many verifiers no longer accept what was revoked.
    fn done(&self) -> u64 {
        self.confirmed.saturating_add(self.fenced)
    }
}

impl RevokedHere {
    /// Returns path and name of the page that shows what was done before the revocation; none for a token.
    fn next_page(&self) -> Option<(String, &'static str)> {
        let target = |name| query(name, &self.target);
        match self.level {
            Level::Agent | Level::Chain if self.target.starts_with("spiffe://") => {
                Some((format!("/console/agent?{}", target("id")), "What the agent did, and what it delegated"))
            }
            Level::Task => Some((format!("/console/audit?{}", target("task")), "What was done in the task")),
            Level::Agent | Level::Chain | Level::Token | Level::Session | Level::Issuer => None,
        }
    }
}

struct PendingRow {
    verifier: String,
    instance: String,
    heard: Option<Time>,
    fenced: Option<Time>,
}

/// Returns a text that changes when a verifier confirms, is fenced, comes or goes.
fn version(response: &ConfirmationResponse) -> String {
    let confirmation = &response.confirmation;
    format!("{}.{}.{}", confirmation.verifiers, confirmation.confirmed, confirmation.fenced)
}

/// Returns the time at which the last verifier stops by its bound, if all that have not confirmed are known and have one.
fn latest(response: &ConfirmationResponse) -> Option<UnixTime> {
    let ends = response.confirmation.pending.iter().map(|pending| pending.fenced_at);
    let latest = ends.reduce(|one, other| Some(one?.max(other?))).flatten();
    latest.filter(|_| response.pending_omitted == 0)
}

fn elapsed(milliseconds: u64) -> String {
    if milliseconds < 10_000 {
        format!("{} ms", number(milliseconds))
    } else {
        duration(Duration::from_millis(milliseconds))
    }
}

pub(super) async fn confirmation(
    State(console): State<Console>,
    mut operator: Operator,
    fields: Fields,
    live: Live,
) -> Result<Response, ConsoleError> {
    let (services, pause) = (&console.services, live.pause());
    let cursor = fields.required("cursor", FeedCursor::parse)?;
    let confirmations = &services.confirmations;
    let response = if let Some(shown) = live.waits_beyond() {
        let is_news = |response: &ConfirmationResponse| version(response) != shown;
        let response = confirmations.await_news(&cursor, &Subject::Admin, LONGEST_WAIT, is_news).await?;
        operator = live.operator(&console).await?;
        response
    } else {
        confirmations.await_confirmation(&cursor, &Subject::Admin, Duration::ZERO).await?
    };
    let now = services.ledger.now();
    let pending = response.confirmation.pending.iter().map(|pending| PendingRow {
        verifier: pending.verifier.to_string(),
        instance: pending.instance.map_or_else(|| "unknown".to_owned(), |id| id.to_string()),
        heard: pending.last_heard.map(|at| Time::new(at, now)),
        fenced: pending.fenced_at.map(|at| Time::new(at, now)),
    });
    render(&ConfirmationPage {
        frame: operator.frame("Revoke"),
        version: version(&response),
        pause,
        revoked: operator.revocation(&cursor).cloned(),
        cursor: cursor.to_string(),
        state: response.confirmation.state,
        verifiers: response.confirmation.verifiers,
        confirmed: response.confirmation.confirmed,
        fenced: response.confirmation.fenced,
        unenrolled: response.unenrolled,
        elapsed: elapsed(response.elapsed_ms),
        latest: latest(&response).map(|at| Time::new(at, now)),
        pending: pending.collect(),
    })
}
