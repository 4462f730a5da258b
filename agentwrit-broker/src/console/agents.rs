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
    store::{AgentFilter, AuditQuery, Page, Reader, TokenFilter, TokenPage, Work},
};

/// Largest number of tokens that the page of an agent shows of each kind: the live ones first, and of each the newest.
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
    /// Says how many of the tokens are shown, if not all.
    tokens_shown: Option<String>,
    /// Agents that it received tokens from, root first, one chain in each list.
    chains: Vec<Vec<Link>>,
    delegated: Vec<TokenRow>,
    delegated_shown: Option<String>,
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
    tokens: Newest,
    delegated: Newest,
    events: Vec<agentwrit_protocol::Event>,
}

/// Tokens of a kind: the newest of the live ones, and of the others while there is room; oldest first.
#[derive(Debug)]
struct Newest {
    shown: Vec<ListedToken>,
    total: u64,
}

impl Newest {
    fn read(reader: &dyn Reader, filter: &TokenFilter, now: UnixTime) -> Result<Self, Error> {
        let newest = |filter: &TokenFilter| {
            let page = |limit, offset| TokenPage { limit, offset, after: None };
            let (_, total) = reader.tokens(filter, &page(0, 0))?;
            let (tokens, _) = reader.tokens(filter, &page(SHOWN_TOKENS, total.saturating_sub(SHOWN_TOKENS)))?;
            Ok::<_, Error>((tokens, total))
        };
        let (mut shown, total) = newest(filter)?;
        if total > SHOWN_TOKENS {
            let (mut live, _) = newest(&TokenFilter { live_at: Some(now), ..filter.clone() })?;
            let room = usize::try_from(SHOWN_TOKENS).unwrap_or(usize::MAX).saturating_sub(live.len());
            shown.retain(|listed| live.iter().all(|live| live.token.jti != listed.token.jti));
            live.extend(shown.into_iter().rev().take(room));
            live.sort_by_key(|listed| listed.token.issued_at);
            shown = live;
        }
        Ok(Self { shown, total })
    }

    /// Says how many are shown, if not all.
    fn note(&self) -> Option<String> {
        let shown = self.shown.len() as u64;
        (shown < self.total).then(|| format!("{} of {}, the live ones first", number(shown), number(self.total)))
    }
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
        let of_agent = TokenFilter { subject: Some(Subject::Agent(id.clone())), ..TokenFilter::default() };
        let below_agent = TokenFilter { delegator: Some(id.clone()), ..TokenFilter::default() };
        let (tokens, delegated) = (Newest::read(reader, &of_agent, now)?, Newest::read(reader, &below_agent, now)?);
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
        tokens.shown.iter().map(|listed| &listed.token.delegators[..]).filter(|chain| !chain.is_empty()).collect();
    chains.sort_by(|one, other| one.iter().map(AgentId::as_str).cmp(other.iter().map(AgentId::as_str)));
    chains.dedup();
    render(&AgentPage {
        frame: operator.frame("Agents"),
        key: agentwrit_verify::Thumbprint::of_ed25519(&agent.public_key).to_string(),
        is_bound: agent.sender_constrained,
        revoked: agent.revoked_at.map(|at| Time::new(at, now)),
        chains: chains.into_iter().map(|chain| chain.iter().map(link).collect()).collect(),
        delegated: tree(&delegated.shown, now),
        delegated_shown: delegated.note(),
        tokens: tokens.shown.iter().map(|listed| TokenRow::of(listed, now, 1)).collect(),
        tokens_shown: tokens.note(),
        events: events.iter().rev().map(EventRow::of).collect(),
        agent: AgentRow::of(&agent, now),
    })
}

/// Returns delegated tokens, each after the one that it was delegated from. Those come first whose delegator's session is not
/// among them: it is the agent's own, or not shown.
fn tree(delegated: &[ListedToken], now: UnixTime) -> Vec<TokenRow> {
    let mut rows = Vec::new();
    let is_shown = |session: &TokenId| delegated.iter().any(|listed| listed.token.jti == *session);
    let delegators = delegated.iter().filter_map(|listed| listed.token.delegator_sids.last());
    let mut sessions: Vec<TokenId> = delegators.filter(|session| !is_shown(session)).copied().collect();
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
