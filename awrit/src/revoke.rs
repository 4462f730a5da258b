//! `awrit revoke`.

use agentwrit_client::RevocationTarget;
use agentwrit_verify::{AgentId, PathSegment, Subject, TokenId};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{context::Context, error::CliError};

/// Revoke a token, an agent, a task or a delegation chain
///
/// When this returns the revocation is durable and on its way to every resource server. Repeating it is harmless.
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
    /// What kind of target
    #[arg(long, value_enum)]
    level: Level,
    /// What to revoke
    #[arg(long)]
    target: String,
    /// Why, for the audit trail, up to 512 bytes
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
        let revoked = context.admin()?.revoke(&target, self.reason.as_deref()).await?;
        let for_scripts =
            json!({ "revoked": revoked.revoked, "level": level, "target": self.target, "count": revoked.count });
        let shown = context.output.show(&for_scripts, |out| match (revoked.revoked, revoked.count) {
            (false, _) => Ok(()),
            (true, 0) => writeln!(out, "Revoked {level} {}. No token of it was alive.", self.target),
            (true, 1) => writeln!(out, "Revoked {level} {}. It killed 1 live token.", self.target),
            (true, count) => writeln!(out, "Revoked {level} {}. It killed {count} live tokens.", self.target),
        });
        let complaint = format!("nothing was revoked: the broker knows no {level} `{}`", self.target);
        CliError::judged(revoked.revoked, shown, Some(complaint))
    }
}

impl Level {
    fn parse(self, target: &str) -> Result<RevocationTarget, String> {
        let wrong =
            |error: &dyn std::fmt::Display, example: &str| format!("--target `{target}`: {error}, as in `{example}`");
        let agent = "spiffe://agentwrit.local/agent/billing/invoice-1/0123456789abcdef";
        match self {
            Self::Token => TokenId::parse(target)
                .map(RevocationTarget::Token)
                .map_err(|error| wrong(&error, "0123456789abcdef0123456789abcdef")),
            Self::Agent => Subject::parse(target).map(RevocationTarget::Subject).map_err(|error| wrong(&error, agent)),
            Self::Task => {
                PathSegment::parse(target).map(RevocationTarget::Task).map_err(|error| wrong(&error, "invoice-1"))
            }
            Self::Chain => AgentId::parse(target)
                .map(|root| RevocationTarget::Chain(Subject::Agent(root)))
                .map_err(|error| wrong(&error, agent)),
        }
    }
}
