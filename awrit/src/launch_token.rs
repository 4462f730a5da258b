//! `awrit launch-token`: permissions to register one agent.

use std::time::Duration;

use agentwrit_client::{LaunchTokenRecord, NewLaunchToken};
use agentwrit_protocol::{LaunchTokenPolicy, LaunchTokenResponse};
use agentwrit_verify::UnixTime;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    context::Context,
    error::CliError,
    format,
    output::{self, PageOptions},
};

/// Issue, list and delete launch tokens
#[derive(Subcommand)]
pub(crate) enum LaunchToken {
    Create(Create),
    List(List),
    Delete(Delete),
}

impl LaunchToken {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

/// Issue a launch token that belongs to no app; it is shown this once
#[derive(Args)]
#[command(after_help = "\
Example:
  awrit launch-token create --name nightly-report --scopes read:data:sales --orch-id reports --task-id nightly-7")]
pub(crate) struct Create {
    #[command(flatten)]
    policy: Policy,
    /// Lifetime of the launch token in seconds, 1 to 3600 [default: 30]
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Let it register any number of agents until it expires
    #[arg(long)]
    reusable: bool,
    /// Orchestration that a registration must name; with --task-id
    #[arg(long, requires = "task_id")]
    orch_id: Option<String>,
    /// Task that a registration must name; with --orch-id
    #[arg(long, requires = "orch_id")]
    task_id: Option<String>,
    /// Bind the agent's tokens to its key (RFC 9449)
    #[arg(long)]
    sender_constrained: bool,
}

/// Limits of every registration with the launch token.
#[derive(Args)]
pub(crate) struct Policy {
    /// Name of the agent, in lists and the audit trail
    #[arg(long)]
    pub(crate) name: String,
    /// Scopes that a registration may request
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    pub(crate) scopes: Vec<String>,
    /// Lifetime of the agent's tokens in seconds, 1 to 86400 [default: as the broker is configured]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_ttl: Option<u64>,
}

impl Create {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let Policy { name, scopes, max_ttl } = self.policy;
        let mut request = NewLaunchToken::new(name, &scopes)?;
        if let Some(seconds) = max_ttl {
            request = request.max_ttl(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.ttl {
            request = request.ttl(Duration::from_secs(seconds));
        }
        if self.reusable {
            request = request.reusable();
        }
        if self.sender_constrained {
            request = request.sender_constrained();
        }
        if let (Some(orch_id), Some(task_id)) = (&self.orch_id, &self.task_id) {
            request = request.pinned_to(orch_id, task_id)?;
        }
        let token = context.admin()?.create_launch_token(&request).await?;
        let response = LaunchTokenResponse {
            launch_token: token.token().clone(),
            launch_token_id: token.id().map(str::to_owned),
            expires_at: token.expires_at(),
            policy: LaunchTokenPolicy {
                allowed_scope: token.allowed_scope().clone(),
                max_ttl: token.max_ttl().as_secs(),
                sender_constrained: token.sender_constrained(),
            },
        };
        let now = context.clock.now();
        context.output.print(&response, |out| {
            let mut fields = vec![("launch_token", token.token().expose().to_owned())];
            fields.extend(token.id().map(|id| ("launch_token_id", id.to_owned())));
            fields.extend([
                ("allowed_scope", format::scopes(token.allowed_scope())),
                ("max_ttl", token.max_ttl().as_secs().to_string()),
                ("expires_at", format::time(token.expires_at(), now)),
            ]);
            if token.sender_constrained() {
                fields.push(("sender_constrained", "true".to_owned()));
            }
            output::fields(out, &fields)?;
            writeln!(out, "\nThe launch token is shown this once: the broker keeps a digest only.")
        })
    }
}

/// List launch tokens: their names and policies, without the tokens
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: PageOptions,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.launch_tokens(&self.page.page()).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "There is no launch token.");
            }
            let rows = listing.entries.iter().map(|token| row(token, now));
            let columns = ["LAUNCH TOKEN ID", "AGENT NAME", "STATE", "MAX TTL", "BY", "SCOPES"];
            context.output.table(out, &columns, rows)?;
            output::print_next_cursor(out, &listing)
        })
    }
}

fn row(token: &LaunchTokenRecord, now: UnixTime) -> Vec<String> {
    let state = match token.consumed_at {
        Some(at) => format!("used {}", format::relative(at, now)),
        None if token.expires_at <= now => "expired".to_owned(),
        None => format!("expires {}", format::relative(token.expires_at, now)),
    };
    vec![
        token.launch_token_id.clone(),
        token.agent_name.clone(),
        state,
        token.max_ttl.to_string(),
        token.created_by.to_string(),
        format::scopes(&token.allowed_scope),
    ]
}

/// Delete a launch token, by its id: it registers no agent any more
///
/// Agents that were registered with it keep their tokens.
#[derive(Args)]
pub(crate) struct Delete {
    /// Id of the launch token, as `awrit launch-token list` shows it
    #[arg(value_name = "ID")]
    id: String,
}

impl Delete {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        context.confirm(&format!("Delete launch token {}?", self.id))?;
        context.admin()?.delete_launch_token(&self.id).await?;
        let json = json!({ "launch_token_id": self.id, "deleted": true });
        context.output.print(&json, |out| writeln!(out, "Deleted {}.", self.id))
    }
}
