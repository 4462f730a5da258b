//! `awrit revoke`.

use std::{fmt::Display, io::Write, time::Duration};

use agentwrit_client::{Admin, RevocationResponse, RevocationTarget};
use agentwrit_verify::{AgentId, PathSegment, Subject, TokenId};
use clap::{Args, ValueEnum};

use crate::{
    confirmation::{ConfirmationWait, WaitEnd, WaitOption},
    context::Context,
    duration_argument::WaitLimit,
    error::CliError,
    format,
};

/// Revoke a token, an agent, a task or a delegation chain
///
/// When this returns the revocation is durable, and every verifier learns of it through the revocation feed. With --wait it returns
/// when no enrolled verifier accepts what was revoked any more. Repeating the command is harmless.
#[derive(Args)]
#[command(after_help = "\
Levels:
  token  a jti: that token, every renewal of its session and every delegation made from it
  agent  a SPIFFE id, `app:<app_id>` or `admin`: its tokens, and those in whose delegation chain it appears
  task   a task id: every token of that task
  chain  the SPIFFE id of a root delegator: its own tokens and everything that was delegated from them

Examples:
  awrit revoke --level agent --target \"$AGENT_ID\" --dry-run
  awrit revoke --level agent --target \"$AGENT_ID\" --reason 'its token was in a log' --wait
  awrit revoke --level task --target invoice-1 --yes")]
pub(crate) struct Revoke {
    /// Kind of the target
    #[arg(long, value_enum)]
    level: Level,
    /// The token, agent, task or root delegator to revoke
    #[arg(long)]
    target: String,
    /// Reason for the audit trail, up to 512 bytes
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitOption,
    /// Show what would be revoked, and revoke nothing
    #[arg(long, conflicts_with_all = ["wait", "reason"])]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Token,
    Agent,
    Task,
    Chain,
}

impl Revoke {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let target = self.level.parse(&self.target).map_err(CliError::Usage)?;
        if self.dry_run {
            return self.preview(context, &target).await;
        }
        context.confirm(&format!("Revoke {}?", self.named()))?;
        let admin = context.admin()?;
        if let Some(limit) = self.wait.wait {
            return self.revoke_and_wait(context, &admin, &target, limit).await;
        }
        let response = self.complete(&target, admin.revoke(&target, self.reason.as_deref()).await?);
        let printed = context.output.print(&response, |out| self.print(&response, out));
        CliError::negative_unless(response.revoked, printed, Some(self.nothing_revoked()))
    }

    async fn revoke_and_wait(
        &self,
        context: &Context,
        admin: &Admin,
        target: &RevocationTarget,
        limit: WaitLimit,
    ) -> Result<(), CliError> {
        let response = admin.revoke_and_wait(target, self.reason.as_deref(), Duration::ZERO).await?;
        let mut response = self.complete(target, response);
        let is_json = context.output.is_json();
        if !response.revoked {
            let printed = context.output.print(&response, |_| Ok(()));
            return CliError::negative_unless(false, printed, Some(self.nothing_revoked()));
        }
        if !is_json {
            context.output.print(&response, |out| self.print(&response, out))?;
        }
        let Some(cursor) = response.cursor.clone() else {
            if is_json {
                context.output.print(&response, |_| Ok(()))?;
            }
            return Err(CliError::failed("the broker does not confirm revocations: it is older than `--wait`")
                .hint("the revocation stands; verifiers have it within seconds, or reject every token"));
        };
        let wait = ConfirmationWait { admin, cursor: &cursor, limit, what: "revocation" };
        let WaitEnd { response: confirmation, result } = wait.run(context, response.confirmation.take()).await?;
        if is_json {
            response.confirmation = confirmation;
            context.output.print(&response, |_| Ok(()))?;
        }
        result
    }

    async fn preview(&self, context: &Context, target: &RevocationTarget) -> Result<(), CliError> {
        let response = context.admin()?.preview_revocation(target).await?;
        let response = self.complete(target, response);
        let (agents, tasks) = (response.agents.unwrap_or(0), response.tasks.unwrap_or(0));
        let printed = context.output.print(&response, |out| {
            if !response.revoked {
                return Ok(());
            }
            let (tokens, agents) = (format::count(response.count, "active token"), format::count(agents, "agent"));
            let (named, tasks) = (self.named(), format::count(tasks, "task"));
            writeln!(out, "Revoking {named} would end {tokens}: {agents}, {tasks}. Nothing was revoked.")
        });
        let unknown = format!("the broker knows no {}; nothing was revoked", self.named_in_code());
        CliError::negative_unless(response.revoked, printed, Some(unknown))
    }

    /// Adds the members that AgentWrit v2 does not send.
    fn complete(&self, target: &RevocationTarget, response: RevocationResponse) -> RevocationResponse {
        RevocationResponse { level: Some(target.level()), target: Some(self.target.clone()), ..response }
    }

    fn print(&self, response: &RevocationResponse, out: &mut dyn Write) -> std::io::Result<()> {
        match (response.revoked, response.count) {
            (false, _) => Ok(()),
            (true, 0) => writeln!(out, "Revoked {}. It had no active token.", self.named()),
            (true, count) => {
                writeln!(out, "Revoked {}. This ended {}.", self.named(), format::count(count, "active token"))
            }
        }
    }

    fn nothing_revoked(&self) -> String {
        format!("nothing was revoked: the broker knows no {}", self.named_in_code())
    }

    fn named(&self) -> String {
        format!("{} {}", self.level.name(), self.target)
    }

    fn named_in_code(&self) -> String {
        format!("{} `{}`", self.level.name(), self.target)
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Agent => "agent",
            Self::Task => "task",
            Self::Chain => "chain",
        }
    }

    fn parse(self, target: &str) -> Result<RevocationTarget, String> {
        let invalid = |error: &dyn Display, example: &str| format!("--target `{target}`: {error}, as in `{example}`");
        let agent = "spiffe://agentwrit.local/agent/billing/invoice-1/0123456789abcdef";
        match self {
            Self::Token => TokenId::parse(target)
                .map(RevocationTarget::Token)
                .map_err(|error| invalid(&error, "0123456789abcdef0123456789abcdef")),
            Self::Agent => {
                Subject::parse(target).map(RevocationTarget::Subject).map_err(|error| invalid(&error, agent))
            }
            Self::Task => {
                PathSegment::parse(target).map(RevocationTarget::Task).map_err(|error| invalid(&error, "invoice-1"))
            }
            Self::Chain => AgentId::parse(target)
                .map(|root| RevocationTarget::Chain(Subject::Agent(root)))
                .map_err(|error| invalid(&error, agent)),
        }
    }
}
