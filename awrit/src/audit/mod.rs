//! `awrit audit`: list, follow, export and verify the audit trail.

use clap::Subcommand;

use crate::{context::Context, error::CliError};

mod events;
mod export;
mod follow;
mod reader;
mod time_argument;
mod trail_check;
mod verify;

/// List, follow, export and verify the audit trail
#[derive(Subcommand)]
pub(crate) enum Audit {
    Events(events::Events),
    Export(export::Export),
    Verify(verify::Verify),
}

impl Audit {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Events(events) => events.run(context).await,
            Self::Export(export) => export.run(context).await,
            Self::Verify(verify) => verify.run(context).await,
        }
    }
}
