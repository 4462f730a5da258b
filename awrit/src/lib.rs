//! `awrit`, the operator's command line. The modules are named after the commands.
//!
//! 1. The result of a command goes to stdout, as a table or with `--json` for scripts; messages go to stderr.
//! 2. Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the result is negative (an invalid token, a broken trail, an unhealthy
//!    broker, a revocation without a known target, one that a verifier without a bound has not confirmed), also if it could
//!    not be printed; 4 a confirmation did not come in time; 130 interrupted while waiting for one; 141 the reader of stdout
//!    has closed it. An error of stderr changes no exit code.
//! 3. A destructive command asks for confirmation, unless `--yes` was given. Where stdin or stderr is not a terminal, it does
//!    nothing and exits with 2.
//! 4. The operator's token is kept between commands until it expires (`session`), so that not every command logs in.
//! 5. Text from outside never reaches the terminal as control characters.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    confirmation::ShowConfirmation,
    context::{Context, GlobalOptions},
    error::CliError,
    health::Health,
    keys::Keys,
    revocations::Revocations,
    revoke::Revoke,
    session::Logout,
    trust::Trust,
    verifier::Verifier,
};

mod agent;
mod app;
mod attestation;
mod audit;
mod confirmation;
mod context;
mod duration_argument;
mod error;
mod format;
mod health;
mod init;
mod inventory;
mod key_file;
mod keys;
mod launch_token;
mod output;
mod output_file;
mod revocations;
mod revoke;
mod session;
mod token;
mod trust;
mod verifier;

/// Runs the tool with this process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let Awrit { options, command } = match Awrit::try_parse() {
        Ok(awrit) => awrit,
        Err(message) => return print_clap_message(&message),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command.run(&Context::new(options))),
        Err(error) => Err(CliError::failed(format!("no runtime: {error}"))),
    };
    result.err().map_or(ExitCode::SUCCESS, CliError::report)
}

/// Prints help and the version to stdout (exit code 0) and wrong usage to stderr (2).
fn print_clap_message(message: &clap::Error) -> ExitCode {
    let printed = message.print().and_then(|()| io::stdout().flush());
    if message.use_stderr() {
        return ExitCode::from(2);
    }
    printed.map_or_else(|error| CliError::from(error).report(), |()| ExitCode::SUCCESS)
}

/// Returns the command line, for completions and for the reference in the documentation.
#[must_use]
pub fn command() -> clap::Command {
    Awrit::command()
}

/// The operator's command line: apps, launch tokens, agents, revocations and the audit trail of an AgentWrit broker.
#[derive(Parser)]
#[command(name = "awrit", version, propagate_version = true, max_term_width = 100, after_help = AFTER_HELP)]
struct Awrit {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed; the reason is on stderr
  2  wrong usage, or --yes is missing without a terminal
  3  the result is negative: an invalid token, a broken trail, an unhealthy broker, nothing revoked, a verifier without a
     bound that has not confirmed a revocation
  4  a confirmation (--wait) did not come in time; the change stands

Examples:
  awrit init --mode dev
  export AACTL_BROKER_URL=http://127.0.0.1:8080 AACTL_ADMIN_SECRET=…
  awrit app register --name invoice-desk --scopes 'read:invoices:*'
  awrit revoke --level task --target invoice-1 --wait
  awrit audit events --follow";

#[derive(Subcommand)]
enum Command {
    Init(init::Init),
    #[command(subcommand)]
    App(app::App),
    #[command(subcommand, name = "launch-token")]
    LaunchToken(launch_token::LaunchToken),
    #[command(subcommand)]
    Trust(Trust),
    #[command(subcommand)]
    Agent(agent::Agent),
    #[command(subcommand)]
    Token(token::Token),
    Revoke(Revoke),
    #[command(subcommand)]
    Revocations(Revocations),
    Confirmation(ShowConfirmation),
    #[command(subcommand)]
    Verifier(Verifier),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Keys(Keys),
    Health(Health),
    Logout(Logout),
    #[command(visible_alias = "completion")]
    Completions(Completions),
}

impl Command {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(init) => init.run(context),
            Self::App(app) => app.run(context).await,
            Self::LaunchToken(launch_token) => launch_token.run(context).await,
            Self::Trust(trust) => trust.run(context).await,
            Self::Agent(agent) => agent.run(context).await,
            Self::Token(token) => token.run(context).await,
            Self::Revoke(revoke) => revoke.run(context).await,
            Self::Revocations(revocations) => revocations.run(context).await,
            Self::Confirmation(confirmation) => confirmation.run(context).await,
            Self::Verifier(verifier) => verifier.run(context).await,
            Self::Audit(audit) => audit.run(context).await,
            Self::Keys(keys) => keys.run(context).await,
            Self::Health(health) => health.run(context).await,
            Self::Logout(logout) => logout.run(context).await,
            Self::Completions(completions) => completions.run(),
        }
    }
}

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit completions bash > ~/.local/share/bash-completion/completions/awrit
  awrit completions zsh > \"${fpath[1]}/_awrit\"")]
struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    fn run(self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "awrit", &mut script);
        let mut stdout = io::stdout().lock();
        stdout.write_all(&script)?;
        Ok(stdout.flush()?)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn command_line_definition_is_consistent() {
        super::command().debug_assert();
    }
}
