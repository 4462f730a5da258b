//! `awrit keys`: signing keys of the broker.

mod change;
mod export;
mod list;

use clap::Subcommand;

use self::{
    change::{Activate, Prepare, Retire, Rotate, Withdraw},
    export::Export,
    list::List,
};
use crate::{context::Context, error::CliError};

/// List, rotate, withdraw and export the broker's signing keys
///
/// A key is prepared (published, so that verifiers know it), then active (it signs; there is one), then retiring (its tokens are
/// still valid), then retired. A withdrawn key's tokens are rejected at once.
#[derive(Subcommand)]
pub(crate) enum Keys {
    List(List),
    Rotate(Rotate),
    Withdraw(Withdraw),
    Prepare(Prepare),
    Activate(Activate),
    Retire(Retire),
    Export(Export),
}

impl Keys {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(context).await,
            Self::Rotate(rotate) => rotate.run(context).await,
            Self::Withdraw(withdraw) => withdraw.run(context).await,
            Self::Prepare(prepare) => prepare.run(context).await,
            Self::Activate(activate) => activate.run(context).await,
            Self::Retire(retire) => retire.run(context).await,
            Self::Export(export) => export.run(context).await,
        }
    }
}
