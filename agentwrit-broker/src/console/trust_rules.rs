//! `/console/trust-rules`: rules by which assertions of other issuers register agents.

use agentwrit_protocol::{AttestationKind, ClaimMatch, ClaimValue, JsonRequest, TrustRuleRequest};
use agentwrit_verify::{Subject, UnixTime};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value, json};

use super::{
    Console,
    error::ConsoleError,
    fields::{Action, Fields},
    format::{Time, number, scopes},
    frame::Frame,
    page::{Operator, render},
};
use crate::{
    domain::{IdTemplate, RuleKeys, TrustRule, TrustRuleId},
    http::HttpError,
    store::Page,
};

/// Number of rules on a page.
const PAGE: u64 = 100;
/// Fields of the form that are texts of the request.
const TEXTS: [&str; 8] = ["name", "app_id", "kind", "issuer", "jwks_url", "audience", "task_template", "orch_template"];

#[derive(Template)]
#[template(path = "console/trust_rules.html")]
struct TrustRulesPage {
    frame: Frame,
    kinds: [&'static str; 3],
    total: String,
    rules: Vec<RuleRow>,
    next: Option<String>,
}

struct RuleRow {
    id: String,
    name: String,
    app: String,
    kind: &'static str,
    issuer: String,
    /// URL of the keys, if they are not in the rule.
    jwks_url: Option<String>,
    audience: String,
    claims: Vec<String>,
    scopes: Vec<String>,
    max_ttl: u64,
    templates: Vec<String>,
    token_review: bool,
    created: Time,
    creator: String,
}

impl RuleRow {
    fn of(rule: &TrustRule, now: UnixTime) -> Self {
        let template = |name: &str, template: &Option<IdTemplate>| {
            template.as_ref().map(|template| format!("{name} {}", template.as_str()))
        };
        let templates = [template("task", &rule.task_template), template("orchestration", &rule.orch_template)];
        Self {
            id: rule.id.to_string(),
            name: rule.name.to_string(),
            app: rule.app_id.to_string(),
            kind: rule.kind.as_str(),
            issuer: rule.issuer.clone(),
            jwks_url: match &rule.keys {
                RuleKeys::Url(url) => Some(url.clone()),
                RuleKeys::Set(_) => None,
            },
            audience: rule.audience.clone(),
            claims: rule.claims.iter().map(|(name, condition)| shown(name.as_str(), condition)).collect(),
            scopes: scopes(&rule.allowed_scope),
            max_ttl: rule.max_ttl,
            templates: templates.into_iter().flatten().collect(),
            token_review: rule.token_review,
            created: Time::new(rule.created_at, now),
            creator: rule.created_by.to_string(),
        }
    }
}

/// Shows a condition as the form takes it.
fn shown(name: &str, condition: &ClaimMatch) -> String {
    match condition {
        ClaimMatch::Equals(ClaimValue::Text(text)) => format!("{name}={text}"),
        ClaimMatch::Equals(ClaimValue::Number(number)) => format!("{name}:={number}"),
        ClaimMatch::Equals(ClaimValue::Flag(flag)) => format!("{name}:={flag}"),
        ClaimMatch::Prefix(prefix) => format!("{name}={prefix}…"),
    }
}

pub(super) async fn list(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let now = console.services.ledger.now();
    let page = Page { limit: PAGE, offset: 0, after: fields.number("cursor")?.unwrap_or(0) };
    let (rules, total) = console.services.trust_rules.list(page).await?;
    let last = rules.last().filter(|_| rules.len() as u64 >= PAGE);
    render(&TrustRulesPage {
        frame: operator.frame("Trust rules"),
        kinds: AttestationKind::ALL.map(AttestationKind::as_str),
        total: number(total),
        next: last.map(|(cursor, _)| fields.query_with("cursor", &cursor.to_string())),
        rules: rules.iter().map(|(_, rule)| RuleRow::of(rule, now)).collect(),
    })
}

pub(super) async fn add(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let request = request(&form)?;
    console.services.trust_rules.add(Subject::Admin, operator.bearer(), request, operator.client).await?;
    Ok(Redirect::to("/console/trust-rules").into_response())
}

pub(super) async fn remove(
    State(console): State<Console>,
    Action { operator, form }: Action,
) -> Result<Response, ConsoleError> {
    let id = form.required("id", TrustRuleId::parse)?;
    // Workloads of the rule can't register any more: the operator types its id.
    form.confirmed(id.as_str())?;
    console.services.trust_rules.remove(Subject::Admin, operator.bearer(), id, operator.client).await?;
    Ok(Redirect::to("/console/trust-rules").into_response())
}

/// Reads a form as the body of `POST /v1/admin/trust-rules`, whose checks it has.
fn request(form: &Fields) -> Result<TrustRuleRequest, ConsoleError> {
    let mut members = Map::new();
    for name in TEXTS {
        form.text(name).map(|text| members.insert(name.to_owned(), text.into()));
    }
    let object =
        |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(|_| "must be a JWK set, in JSON");
    if let Some(set) = form.parsed("jwks", object)? {
        members.insert("jwks".to_owned(), set.into());
    }
    let scopes: Vec<&str> = form.text("scopes").unwrap_or_default().split_whitespace().collect();
    members.insert("allowed_scope".to_owned(), scopes.into());
    let lifetime = |text: &str| text.parse::<u64>().map_err(|_| "must be a whole number of seconds");
    members.insert("max_ttl".to_owned(), form.required("max_ttl", lifetime)?.into());
    members.insert("token_review".to_owned(), form.text("token_review").is_some().into());
    members.insert("claims".to_owned(), conditions(form)?.into());
    let body = Value::from(members).to_string();
    let request = TrustRuleRequest::from_json(body.as_bytes());
    request.map_err(|error| ConsoleError::Form(HttpError::from(error)))
}

/// Reads conditions on claims, one on a line.
fn conditions(form: &Fields) -> Result<Map<String, Value>, ConsoleError> {
    let mut conditions = Map::new();
    for (field, member) in [("claims", "equals"), ("prefixes", "prefix")] {
        for line in form.text(field).unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty()) {
            let problem = |problem: &str| ConsoleError::Field { name: field, problem: format!("`{line}` {problem}") };
            let (name, text) = line.split_once('=').ok_or_else(|| problem("must be name=value"))?;
            let (name, value) = match name.strip_suffix(':') {
                Some(name) => (name, serde_json::from_str(text).map_err(|_| problem("must be name:=JSON"))?),
                None => (name, Value::from(text.trim())),
            };
            if conditions.insert(name.trim().to_owned(), json!({ member: value })).is_some() {
                return Err(problem("is the second condition on its claim"));
            }
        }
    }
    Ok(conditions)
}
