//! `awrit agent list`, `awrit agent show` and `awrit token list`: what is registered and issued.

use agentwrit_client::{
    Admin, AgentQuery, AgentRecord, AgentStatus, ListResponse, ListedState, Page, TokenQuery, TokenRecord, TokenState,
};
use agentwrit_verify::{AgentId, AppId, PathSegment, Scope, Subject, UnixTime};
use clap::Args;
use serde::Serialize;

use crate::{
    context::Context,
    error::CliError,
    format,
    output::{self, PageOptions},
};

/// Filters that agents and tokens share.
#[derive(Args)]
struct Filters {
    /// App that they belong to
    #[arg(long, value_name = "ID", value_parser = AppId::parse)]
    app_id: Option<AppId>,
    /// Orchestration that they work for
    #[arg(long, value_name = "ID", value_parser = PathSegment::parse)]
    orch_id: Option<PathSegment>,
    /// Task that they work for
    #[arg(long, value_name = "ID", value_parser = PathSegment::parse)]
    task_id: Option<PathSegment>,
    /// Scope that they allow: `read:records:P-1` also finds `read:records:*`
    #[arg(long, value_parser = Scope::parse)]
    scope: Option<Scope>,
    /// Show also what has ended or expired, until the broker deletes it
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    page: PageOptions,
}

impl Filters {
    fn state(&self) -> ListedState {
        if self.all { ListedState::All } else { ListedState::Live }
    }
}

/// List agents that are registered, oldest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit agent list --scope read:records:P-1
  awrit agent list --app-id app-invoice-desk-0a1b2c --all")]
pub(crate) struct ListAgents {
    #[command(flatten)]
    filters: Filters,
}

impl ListAgents {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (state, page) = (self.filters.state(), self.filters.page.page());
        let Filters { app_id, orch_id, task_id, scope, .. } = self.filters;
        let query = AgentQuery { agent_id: None, app_id, task_id, orch_id, scope, state, page };
        let listing = context.admin()?.agents(&query).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "No agent matches.");
            }
            let rows = listing.entries.iter().map(|agent| agent_row(agent, now));
            context.output.table(out, &["AGENT", "APP", "STATUS", "REGISTERED", "EXPIRES", "SCOPES"], rows)?;
            output::print_next_cursor(out, &listing)
        })
    }
}

fn agent_row(agent: &AgentRecord, now: UnixTime) -> Vec<String> {
    vec![
        agent.agent_id.to_string(),
        format::or_dash(agent.app_id.as_ref()),
        format::or_dash(agent.status.map(AgentStatus::as_str).as_ref()),
        format::relative(agent.registered_at, now),
        format::relative(agent.expires_at, now),
        format::scopes(&agent.scope),
    ]
}

/// Show one agent, its tokens, and those that were delegated from it
#[derive(Args)]
pub(crate) struct ShowAgent {
    /// SPIFFE id of the agent
    #[arg(value_name = "ID", value_parser = AgentId::parse)]
    id: AgentId,
}

/// Result of `awrit agent show`.
#[derive(Serialize)]
struct AgentDetails {
    agent: AgentRecord,
    /// Tokens of the agent.
    tokens: Vec<TokenRecord>,
    /// Tokens in whose delegation chain it is.
    delegated: Vec<TokenRecord>,
}

impl ShowAgent {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (admin, state) = (context.admin()?, ListedState::All);
        let query = AgentQuery { agent_id: Some(self.id.clone()), state, ..AgentQuery::default() };
        let agent = admin.agents(&query).await?.entries.pop();
        let agent = agent.ok_or_else(|| {
            CliError::failed(format!("there is no agent `{}`", self.id)).hint(
                "the broker deletes agents some time after their last token expired; `awrit audit events` has them",
            )
        })?;
        let subject = Some(Subject::Agent(self.id.clone()));
        let tokens = all_tokens(&admin, TokenQuery { subject, state, ..TokenQuery::default() }).await?;
        let delegator = Some(self.id);
        let delegated = all_tokens(&admin, TokenQuery { delegator, state, ..TokenQuery::default() }).await?;
        let (details, now) = (AgentDetails { agent, tokens, delegated }, context.clock.now());
        context.output.print(&details, |out| {
            output::fields(out, &fields(&details.agent, now))?;
            for (title, tokens) in [("Tokens", &details.tokens), ("Delegated from it", &details.delegated)] {
                if !tokens.is_empty() {
                    writeln!(out, "\n{title}:")?;
                    context.output.table(out, &COLUMNS, tokens.iter().map(|token| token_row(token, now)))?;
                }
            }
            Ok(())
        })
    }
}

/// Returns the tokens of every page.
async fn all_tokens(admin: &Admin, mut query: TokenQuery) -> Result<Vec<TokenRecord>, CliError> {
    let mut tokens = Vec::new();
    loop {
        let ListResponse { mut entries, next_cursor, .. } = admin.tokens(&query).await?;
        tokens.append(&mut entries);
        if next_cursor.is_none() {
            return Ok(tokens);
        }
        query.page = Page { cursor: next_cursor, ..query.page };
    }
}

fn fields(agent: &AgentRecord, now: UnixTime) -> Vec<(&'static str, String)> {
    let mut fields = vec![("agent_id", agent.agent_id.to_string())];
    fields.extend(agent.app_id.as_ref().map(|app| ("app_id", app.to_string())));
    fields.extend(agent.status.map(|status| ("status", status.as_str().to_owned())));
    fields.push(("scope", format::scopes(&agent.scope)));
    if agent.sender_constrained {
        fields.push(("sender_constrained", "true".to_owned()));
    }
    fields.push(("registered_at", format::time(agent.registered_at, now)));
    fields.push(("expires_at", format::time(agent.expires_at, now)));
    fields.extend(agent.revoked_at.map(|at| ("revoked_at", format::time(at, now))));
    fields
}

/// List tokens that the broker issued, oldest first, without the tokens themselves
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit token list --task-id invoice-1
  awrit token list --delegator spiffe://agentwrit.local/agent/intake/task-42/5f1c0e9a7b3d2846")]
pub(crate) struct ListTokens {
    /// Subject of the tokens: a SPIFFE id, `app:ID` or `admin`
    #[arg(long, value_parser = Subject::parse)]
    sub: Option<Subject>,
    /// Agent in the delegation chain of the tokens, at any hop
    #[arg(long, value_name = "ID", value_parser = AgentId::parse)]
    delegator: Option<AgentId>,
    #[command(flatten)]
    filters: Filters,
}

impl ListTokens {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (state, page) = (self.filters.state(), self.filters.page.page());
        let Filters { app_id, orch_id, task_id, scope, .. } = self.filters;
        let query =
            TokenQuery { subject: self.sub, delegator: self.delegator, app_id, task_id, orch_id, scope, state, page };
        let listing = context.admin()?.tokens(&query).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "No token matches.");
            }
            context.output.table(out, &COLUMNS, listing.entries.iter().map(|token| token_row(token, now)))?;
            output::print_next_cursor(out, &listing)
        })
    }
}

const COLUMNS: [&str; 7] = ["JTI", "STATE", "ISSUED", "EXPIRES", "SUBJECT", "DELEGATED BY", "SCOPES"];

fn token_row(token: &TokenRecord, now: UnixTime) -> Vec<String> {
    vec![
        token.jti.to_string(),
        format::or_dash(token.state.map(TokenState::as_str).as_ref()),
        format::relative(token.issued_at, now),
        format::relative(token.expires_at, now),
        token.sub.to_string(),
        format::or_dash(token.delegated_by.as_ref()),
        token.scope.as_ref().map_or_else(|| "-".to_owned(), format::scopes),
    ]
}
