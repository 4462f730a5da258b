//! `awrit completions`.

use std::io::{self, Write};

use clap::Args;
use clap_complete::Shell;

use crate::error::CliError;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit completions bash > ~/.local/share/bash-completion/completions/awrit
  awrit completions zsh > \"${fpath[1]}/_awrit\"")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command(), "awrit", &mut script);
        let mut stdout = io::stdout().lock();
        stdout.write_all(&script)?;
        Ok(stdout.flush()?)
    }
}
