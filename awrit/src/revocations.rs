//! `awrit revoke` and `awrit revocations`.

use std::{fmt::Display, path::PathBuf};

use agentwrit_client::{RevocationRecord, RevocationResponse, RevocationTarget};
use agentwrit_verify::{AgentId, PathSegment, Subject, TokenId, UnixTime};
use clap::{Args, Subcommand, ValueEnum};

use crate::{
    context::Context,
    error::CliError,
    format,
    output::{self, PageOptions},
    output_file,
};

/// Revoke a token, an agent, a task or a delegation chain
///
/// When this returns the revocation is durable, and every verifier learns of it through the revocation feed. Repeating the command
/// is harmless.
#[derive(Args)]
#[command(after_help = "\
Levels:
  token  a jti: that token, every renewal of its session and every delegation made from it
  agent  a SPIFFE id, `app:<app_id>` or `admin`: its tokens, and those in whose delegation chain it appears
  task   a task id: every token of that task
  chain  the SPIFFE id of a root delegator: its own tokens and everything that was delegated from them

Examples:
  awrit revoke --level agent --target \"$AGENT_ID\" --reason 'its token was in a log'
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
        let level = self.level.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        context.confirm(&format!("Revoke {level} {}?", self.target))?;
        let response = context.admin()?.revoke(&target, self.reason.as_deref()).await?;
        // AgentWrit v2 sends neither.
        let response =
            RevocationResponse { level: Some(target.level()), target: Some(self.target.clone()), ..response };
        let printed = context.output.print(&response, |out| match (response.revoked, response.count) {
            (false, _) => Ok(()),
            (true, 0) => writeln!(out, "Revoked {level} {}. It had no active token.", self.target),
            (true, count) => {
                writeln!(out, "Revoked {level} {}. This ended {}.", self.target, format::count(count, "active token"))
            }
        });
        let message = format!("nothing was revoked: the broker knows no {level} `{}`", self.target);
        CliError::negative_unless(response.revoked, printed, Some(message))
    }
}

impl Level {
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

/// List the revocations in force, or export them for machines that verify offline
#[derive(Subcommand)]
pub(crate) enum Revocations {
    List(ListRevocations),
    Export(ExportFeed),
}

impl Revocations {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Export(export) => export.run(context).await,
        }
    }
}

/// List the revocations in force
#[derive(Args)]
pub(crate) struct ListRevocations {
    #[command(flatten)]
    page: PageOptions,
}

impl ListRevocations {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let listing = context.admin()?.revocations(&self.page.page()).await?;
        let now = context.clock.now();
        context.output.print(&listing, |out| {
            if listing.entries.is_empty() {
                return writeln!(out, "Nothing is revoked.");
            }
            let rows = listing.entries.iter().map(|revocation| row(revocation, now));
            context.output.table(out, &["LEVEL", "TARGET", "REVOKED", "EXPIRES", "BY", "REASON"], rows)?;
            output::print_next_cursor(out, &listing)
        })
    }
}

fn row(revocation: &RevocationRecord, now: UnixTime) -> Vec<String> {
    vec![
        revocation.level.to_string(),
        revocation.target.clone(),
        format::relative(revocation.revoked_at, now),
        format::relative(revocation.expires_at, now),
        revocation.revoked_by.clone(),
        revocation.reason.clone().unwrap_or_default(),
    ]
}

/// Write the revocation feed's snapshot, as the broker signed it: for `awrit token inspect --revocations FILE`
#[derive(Args)]
pub(crate) struct ExportFeed {
    /// The file to write, `-` for stdout
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

impl ExportFeed {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let snapshot = context.client()?.revocations().await?;
        output_file::write(&self.output, snapshot.trim().as_bytes(), context)
    }
}
