//! `awrit`, the operator's tool. One file per command.
//!
//! 1. What was asked for goes to stdout, as a table for people or with `--json` for scripts; everything else to stderr.
//! 2. Exit codes: 0 done or yes; 1 it could not be done; 2 wrong usage; 3 the answer is no (an invalid token, a broken
//!    trail, an unhealthy broker, a revocation that hit nothing), whether the output could be written or not; 141 the
//!    reader of stdout has gone. An error of stderr changes nothing.
//! 3. A command that destroys something asks first, unless `--yes` was given. Where it cannot ask, because stdin or
//!    stderr is no terminal, it does nothing and exits with 2.
//! 4. The operator's token is kept between commands until it expires (`session.rs`), so that not every command logs in.
//! 5. Text from elsewhere never reaches the terminal as control characters.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{context::Context, error::CliError, global::Global};

mod agent;
mod app;
mod audit;
mod completions;
mod context;
mod error;
mod export;
mod format;
mod global;
mod health;
mod init;
mod keys;
mod launch_token;
mod logout;
mod output;
mod paging;
mod revocations;
mod revoke;
mod session;
mod token;

/// Runs the tool with this process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let Awrit { global, command } = match Awrit::try_parse() {
        Ok(awrit) => awrit,
        Err(message) => return print_clap_message(&message),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(command.run(&Context::new(global))),
        Err(error) => Err(CliError::failed(format!("no runtime: {error}"))),
    };
    outcome.err().map_or(ExitCode::SUCCESS, CliError::report)
}

/// Prints help and the version to stdout (exit code 0) and wrong usage to stderr (2).
fn print_clap_message(message: &clap::Error) -> ExitCode {
    let printed = message.print().and_then(|()| io::stdout().flush());
    if message.use_stderr() {
        return ExitCode::from(2);
    }
    printed.map_or_else(|error| CliError::from(error).report(), |()| ExitCode::SUCCESS)
}

/// The command line, for completions and for the reference in the documentation.
#[must_use]
pub fn command() -> clap::Command {
    Awrit::command()
}

/// The operator's tool: apps, launch tokens, agents, revocations and the audit trail of an AgentWrit broker.
#[derive(Parser)]
#[command(name = "awrit", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
struct Awrit {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done, or yes
  1  it could not be done; the reason is on stderr
  2  wrong usage, --yes missing where it cannot ask
  3  the answer is no: an invalid token, a broken trail, an unhealthy broker, nothing revoked

Examples:
  awrit init --mode dev
  export AACTL_BROKER_URL=http://127.0.0.1:8080 AACTL_ADMIN_SECRET=…
  awrit app register --name invoice-desk --scopes 'read:invoices:*'
  awrit revoke --level task --target invoice-1
  awrit audit events --follow";

#[derive(Subcommand)]
enum Command {
    Init(init::Init),
    #[command(subcommand)]
    App(app::App),
    #[command(subcommand, name = "launch-token")]
    LaunchToken(launch_token::LaunchToken),
    #[command(subcommand)]
    Agent(agent::Agent),
    #[command(subcommand)]
    Token(token::Token),
    Revoke(revoke::Revoke),
    #[command(subcommand)]
    Revocations(revocations::Revocations),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Keys(keys::Keys),
    Health(health::Health),
    Logout(logout::Logout),
    #[command(visible_alias = "completion")]
    Completions(completions::Completions),
}

impl Command {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(context),
            Self::App(app) => app.run(context).await,
            Self::LaunchToken(launch_token) => launch_token.run(context).await,
            Self::Agent(agent) => agent.run(context).await,
            Self::Token(token) => token.run(context).await,
            Self::Revoke(revoke) => revoke.run(context).await,
            Self::Revocations(revocations) => revocations.run(context).await,
            Self::Audit(audit) => audit.run(context).await,
            Self::Keys(keys) => keys.run(context).await,
            Self::Health(health) => health.run(context).await,
            Self::Logout(logout) => logout.run(context).await,
            Self::Completions(completions) => completions.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
