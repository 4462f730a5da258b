//! `/console/launch-tokens`.

use agentwrit_protocol::{
    LaunchTokenRequest,
    limits::{DEFAULT_LAUNCH_TOKEN_TTL, MAX_LAUNCH_TOKEN_TTL, MAX_TOKEN_TTL},
};
use agentwrit_verify::{PathSegment, Subject, UnixTime};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use super::{
    Console,
    apps::{SecretPage, grantable},
    error::ConsoleError,
    fields::{Action, Fields},
    format::{Time, number, scopes},
    frame::Frame,
    page::{Operator, render},
};
use crate::{
    domain::{LaunchToken, LaunchTokenId},
    service::Error,
    store::Page,
};

/// Number of launch tokens on a page.
const PAGE: u64 = 100;
/// Length of the longest name of an agent, in bytes.
const LONGEST_NAME: usize = 256;

#[derive(Template)]
#[template(path = "console/launch_tokens.html")]
struct LaunchTokensPage {
    frame: Frame,
    total: String,
    tokens: Vec<LaunchTokenRow>,
    next: Option<String>,
    ttl: u64,
}

struct LaunchTokenRow {
    id: String,
    name: String,
    creator: String,
    task: String,
    state: &'static str,
    created: Time,
    expires: Time,
    scopes: Vec<String>,
}

impl LaunchTokenRow {
    fn of(token: &LaunchToken, now: UnixTime) -> Self {
        let state = match (token.consumed_at, token.single_use) {
            (Some(_), _) => "used",
            (None, true) => "unused",
            (None, false) => "reusable",
        };
        Self {
            id: token.id.to_string(),
            name: token.agent_name.clone(),
            creator: token.created_by.to_string(),
            task: token.task_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            state,
            created: Time::new(token.created_at, now),
            expires: Time::new(token.expires_at, now),
            scopes: scopes(&token.allowed_scope),
        }
    }
}

pub(super) async fn list(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let now = console.services.ledger.now();
    let page = Page { limit: PAGE, offset: 0, after: fields.number("cursor")?.unwrap_or(0) };
    let read = console.services.ledger.read(move |reader| Ok::<_, Error>(reader.launch_tokens(now, &page)?));
    let (tokens, total) = read.await?;
    let last = tokens.last().filter(|_| tokens.len() as u64 >= PAGE);
    render(&LaunchTokensPage {
        frame: operator.frame("Launch tokens"),
        total: number(total),
        next: last.map(|(cursor, _)| fields.query_with("cursor", &cursor.to_string())),
        tokens: tokens.iter().map(|(_, token)| LaunchTokenRow::of(token, now)).collect(),
        ttl: DEFAULT_LAUNCH_TOKEN_TTL,
    })
}

pub(super) async fn issue(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let lifetime = |name, most: u64| {
        form.parsed(name, |text| {
            let seconds = text.parse().ok().filter(|seconds| (1..=most).contains(seconds));
            seconds.ok_or_else(|| format!("must be 1 to {most} seconds"))
        })
    };
    let request = LaunchTokenRequest {
        agent_name: form.required("agent_name", name)?,
        allowed_scope: form.required("scopes", grantable)?,
        max_ttl: lifetime("max_ttl", MAX_TOKEN_TTL)?,
        single_use: form.text("reusable").is_none(),
        ttl: lifetime("ttl", MAX_LAUNCH_TOKEN_TTL)?,
        orch_id: form.parsed("orch_id", PathSegment::parse)?,
        task_id: form.parsed("task_id", PathSegment::parse)?,
        sender_constrained: form.text("sender_constrained").is_some(),
    };
    let issued = console.services.launch_tokens.issue(Subject::Admin, operator.bearer(), request, operator.client);
    let (token, secret) = issued.await?;
    render(&SecretPage {
        frame: operator.frame("Launch tokens"),
        title: "Launch token issued",
        facts: vec![
            ("launch_token_id", token.id.to_string()),
            ("agent_name", token.agent_name),
            ("expires_at", token.expires_at.to_rfc3339()),
        ],
        name: "launch_token",
        secret: secret.expose().to_owned(),
        back: "/console/launch-tokens".to_owned(),
    })
}

fn name(text: &str) -> Result<String, String> {
    if text.len() > LONGEST_NAME || text.contains('\0') {
        return Err(format!("must have at most {LONGEST_NAME} bytes, without U+0000"));
    }
    Ok(text.to_owned())
}

pub(super) async fn delete(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let id = form.required("id", LaunchTokenId::parse)?;
    console.services.launch_tokens.delete(Subject::Admin, operator.bearer(), id, operator.client).await?;
    Ok(Redirect::to("/console/launch-tokens").into_response())
}
