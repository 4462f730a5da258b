//! `awrit agent`: registration of an agent.

use std::time::Duration;

use agentwrit_client::{NewLaunchToken, Registration};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    context::{Context, token_argument},
    error::CliError,
    format, output,
};

/// Register agents
#[derive(Subcommand)]
pub(crate) enum Agent {
    Register(Register),
}

impl Agent {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let Self::Register(register) = self;
        register.run(context).await
    }
}

/// Register an agent: launch token, challenge, signature, registration
///
/// Without --launch-token one is issued first, with the admin secret, for this orchestration, task and these scopes
/// only. The agent's key is generated for this registration and not kept; its token is shown this once.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit agent register --orch-id reports --task-id nightly-7 --scopes read:data:sales
  TOKEN=$(awrit agent register --orch-id reports --task-id t1 --scopes read:data:sales --json | jq -r .access_token)
  echo \"$LAUNCH_TOKEN\" | awrit agent register --launch-token - --orch-id o --task-id t --scopes read:data:sales")]
pub(crate) struct Register {
    /// Orchestration, part of the agent's SPIFFE id
    #[arg(long)]
    orch_id: String,
    /// Task, part of the agent's SPIFFE id
    #[arg(long)]
    task_id: String,
    /// Scopes to request for the agent
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// Existing launch token; `-` reads it from stdin
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["max_ttl", "name"])]
    launch_token: Option<String>,
    /// Lifetime of the agent's tokens in seconds, 1 to 86400 [default: as the broker is configured]
    #[arg(long, value_name = "SECONDS")]
    max_ttl: Option<u64>,
    /// Name of the agent in the audit trail [default: orchestration/task]
    #[arg(long)]
    name: Option<String>,
}

impl Register {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let registration = Registration::new(&self.orch_id, &self.task_id, &self.scopes)?;
        let agent = if let Some(launch_token) = &self.launch_token {
            context.client()?.register(&token_argument(launch_token)?, &registration).await?
        } else {
            let admin = context.admin()?;
            let launch_token = admin.create_launch_token(&self.request()?).await?;
            admin.client().register(launch_token.token(), &registration).await?
        };
        let (now, expires_at) = (context.clock.now(), agent.expires_at());
        let json = json!({
            "agent_id": agent.id(),
            "access_token": agent.token().expose(),
            "expires_in": expires_at.saturating_since(now).as_secs(),
            "expires_at": expires_at,
            "scope": agent.scopes(),
        });
        context.output.print(&json, |out| {
            output::fields(
                out,
                &[
                    ("agent_id", agent.id().to_string()),
                    ("scope", format::scopes(agent.scopes())),
                    ("expires_at", format::time(expires_at, now)),
                    ("access_token", agent.token().expose().to_owned()),
                ],
            )
        })
    }

    fn request(&self) -> Result<NewLaunchToken, CliError> {
        let name = self.name.clone().unwrap_or_else(|| format!("{}/{}", self.orch_id, self.task_id));
        let request = NewLaunchToken::new(name, &self.scopes)?.pinned_to(&self.orch_id, &self.task_id)?;
        Ok(match self.max_ttl {
            Some(seconds) => request.max_ttl(Duration::from_secs(seconds)),
            None => request,
        })
    }
}
