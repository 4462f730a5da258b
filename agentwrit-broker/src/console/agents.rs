//! `/console/agents` and `/console/agent`: who holds what.

use agentwrit_protocol::limits::DEFAULT_PAGE;
use agentwrit_verify::{AgentId, AppId, PathSegment, Scope, Subject, TokenId, UnixTime};
use askama::Template;
use axum::{extract::State, response::Response};

use super::{
    Console,
    audit::EventRow,
    error::ConsoleError,
    fields::{Fields, query},
    format::{Time, number, scopes},
    frame::Frame,
    page::{Operator, render},
};
use crate::{
    domain::{ListedToken, RegisteredAgent},
    service::Error,
    store::{AgentFilter, AuditQuery, Page, TokenFilter, TokenPage, Work},
};

/// Largest number of tokens that the page of an agent shows of each kind.
const SHOWN_TOKENS: u64 = 200;
/// Largest number of events that the page of an agent shows.
const SHOWN_EVENTS: u64 = 50;

#[derive(Template)]
#[template(path = "console/agents.html")]
struct AgentsPage {
    frame: Frame,
    fields: Fields,
    all: bool,
    total: String,
    agents: Vec<AgentRow>,
    /// Query of the next page.
    next: Option<String>,
}

struct AgentRow {
    id: String,
    query: String,
    orch: String,
    task: String,
    instance: String,
    app: String,
    status: &'static str,
    registered: Time,
    expires: Time,
    scopes: Vec<String>,
}

impl AgentRow {
    fn of(agent: &RegisteredAgent, now: UnixTime) -> Self {
        Self {
            id: agent.agent_id.to_string(),
            query: query("id", agent.agent_id.as_str()),
            orch: agent.agent_id.orch_id().to_owned(),
            task: agent.agent_id.task_id().to_owned(),
            instance: agent.agent_id.instance().to_owned(),
            app: agent.app_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            status: status(agent, now),
            registered: Time::new(agent.registered_at, now),
            expires: Time::new(agent.expires_at, now),
            scopes: scopes(&agent.scope),
        }
    }
}

fn status(agent: &RegisteredAgent, now: UnixTime) -> &'static str {
    if agent.revoked_at.is_some() {
        "revoked"
    } else if agent.expires_at <= now {
        "expired"
    } else {
        "active"
    }
}

pub(super) async fn list(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let services = &console.services;
    let (now, all) = (services.ledger.now(), fields.text("state") == Some("all"));
    let (orch, task) = (fields.parsed("orch", PathSegment::parse)?, fields.parsed("task", PathSegment::parse)?);
    let filter = AgentFilter {
        agent_id: None,
        app_id: fields.parsed("app", AppId::parse)?,
        work: Work::of(&services.issuer.policy().trust_domain, orch.as_ref(), task.as_ref()),
        scope: fields.parsed("scope", Scope::parse)?,
        live_at: (!all).then_some(now),
    };
    let page = Page { limit: DEFAULT_PAGE, offset: 0, after: fields.number("cursor")?.unwrap_or(0) };
    let turn = services.pools.long_read().await;
    let listed = services.ledger.read(move |reader| {
        let _turn = turn;
        Ok::<_, Error>(reader.agents(&filter, &page)?)
    });
    let (agents, total) = listed.await?;
    let last = agents.last().filter(|_| agents.len() as u64 >= page.limit);
    render(&AgentsPage {
        frame: operator.frame("Agents"),
        all,
        total: number(total),
        next: last.map(|(cursor, _)| fields.query_with("cursor", &cursor.to_string())),
        agents: agents.iter().map(|(_, agent)| AgentRow::of(agent, now)).collect(),
        fields,
    })
}

#[derive(Template)]
#[template(path = "console/agent.html")]
struct AgentPage {
    frame: Frame,
    agent: AgentRow,
    key: String,
    is_bound: bool,
    revoked: Option<Time>,
    tokens: Vec<TokenRow>,
    /// Agents that it received tokens from, root first, one chain in each list.
    chains: Vec<Vec<Link>>,
    delegated: Vec<TokenRow>,
    events: Vec<EventRow>,
}

/// An agent in a chain.
struct Link {
    id: String,
    query: String,
}

/// A token of an agent, or one below it in the tree of delegations.
struct TokenRow {
    jti: String,
    subject: String,
    /// Query of the page of the subject.
    query: String,
    state: &'static str,
    issued: Time,
    expires: Time,
    scopes: Vec<String>,
    is_delegated: bool,
    /// Depth in the tree, from 1.
    depth: usize,
}

impl TokenRow {
    fn of(listed: &ListedToken, now: UnixTime, depth: usize) -> Self {
        let ListedToken { token, scope, ended_at } = listed;
        let state = if ended_at.is_some() {
            "ended"
        } else if token.expires_at <= now {
            "expired"
        } else {
            "live"
        };
        Self {
            jti: token.jti.to_string(),
            subject: token.subject.to_string(),
            query: query("id", &token.subject.to_string()),
            state,
            issued: Time::new(token.issued_at, now),
            expires: Time::new(token.expires_at, now),
            scopes: scope.as_ref().map(scopes).unwrap_or_default(),
            is_delegated: token.root.is_some(),
            depth,
        }
    }
}

/// Rows that the page of an agent shows.
#[derive(Debug)]
struct Found {
    agent: RegisteredAgent,
    tokens: Vec<ListedToken>,
    delegated: Vec<ListedToken>,
    events: Vec<agentwrit_protocol::Event>,
}

pub(super) async fn page(
    State(console): State<Console>,
    operator: Operator,
    fields: Fields,
) -> Result<Response, ConsoleError> {
    let services = &console.services;
    let (now, id) = (services.ledger.now(), fields.required("id", AgentId::parse)?);
    services.ledger.write_all_denials().await.unwrap_or_default();
    let found = services.ledger.read(move |reader| {
        let Some(agent) = reader.agent(&id)? else { return Ok::<_, Error>(None) };
        let page = TokenPage { limit: SHOWN_TOKENS, offset: 0, after: None };
        let subject = Some(Subject::Agent(id.clone()));
        let (tokens, _) = reader.tokens(&TokenFilter { subject, ..TokenFilter::default() }, &page)?;
        let delegator = Some(id.clone());
        let (delegated, _) = reader.tokens(&TokenFilter { delegator, ..TokenFilter::default() }, &page)?;
        let of_agent = AuditQuery { agent_id: Some(id.to_string()), ..AuditQuery::default() };
        let total = reader.audit_events(&of_agent)?.total;
        let query = AuditQuery { limit: SHOWN_EVENTS, offset: total.saturating_sub(SHOWN_EVENTS), ..of_agent };
        Ok(Some(Found { agent, tokens, delegated, events: reader.audit_events(&query)?.events }))
    });
    let Some(Found { agent, tokens, delegated, events }) = found.await? else {
        return Err(ConsoleError::NotFound {
            what: "the broker knows no agent of this id; it deletes agents some time after \
                                                 their last token expired, and the audit trail keeps their events",
        });
    };
    let link = |agent: &AgentId| Link { id: agent.to_string(), query: query("id", agent.as_str()) };
    let mut chains: Vec<&[AgentId]> =
        tokens.iter().map(|listed| &listed.token.delegators[..]).filter(|chain| !chain.is_empty()).collect();
    chains.sort_by(|one, other| one.iter().map(AgentId::as_str).cmp(other.iter().map(AgentId::as_str)));
    chains.dedup();
    render(&AgentPage {
        frame: operator.frame("Agents"),
        key: agentwrit_verify::Thumbprint::of_ed25519(&agent.public_key).to_string(),
        is_bound: agent.sender_constrained,
        revoked: agent.revoked_at.map(|at| Time::new(at, now)),
        chains: chains.into_iter().map(|chain| chain.iter().map(link).collect()).collect(),
        delegated: tree(&tokens, &delegated, now),
        tokens: tokens.iter().map(|listed| TokenRow::of(listed, now, 1)).collect(),
        events: events.iter().rev().map(EventRow::of).collect(),
        agent: AgentRow::of(&agent, now),
    })
}

/// Returns the tokens below those of an agent, each after the one that it was delegated from.
fn tree(own: &[ListedToken], delegated: &[ListedToken], now: UnixTime) -> Vec<TokenRow> {
    let mut rows = Vec::new();
    // A token that it delegated to itself is below the session that it came from.
    let is_below = |own: &ListedToken| delegated.iter().any(|listed| listed.token.jti == own.token.jti);
    let mut sessions: Vec<TokenId> = own.iter().filter(|own| !is_below(own)).map(|listed| listed.token.sid).collect();
    sessions.sort_unstable_by_key(|sid| *sid.as_bytes());
    sessions.dedup();
    for session in sessions {
        add_below(session, delegated, now, 1, &mut rows);
    }
    rows
}

fn add_below(session: TokenId, delegated: &[ListedToken], now: UnixTime, depth: usize, rows: &mut Vec<TokenRow>) {
    // A chain has five delegations at most; a delegation to the delegator itself is below its own session.
    if depth > agentwrit_verify::delegation::MAX_DEPTH {
        return;
    }
    for listed in delegated.iter().filter(|listed| listed.token.delegator_sids.last() == Some(&session)) {
        rows.push(TokenRow::of(listed, now, depth));
        // Renewals share the session: what was delegated from it follows the first token.
        if listed.token.jti == listed.token.sid {
            add_below(listed.token.sid, delegated, now, depth + 1, rows);
        }
    }
}
