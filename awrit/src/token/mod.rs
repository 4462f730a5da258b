//! `awrit token`.

use clap::Subcommand;

use crate::{context::Context, error::CliError};

mod inspect;
mod release;
mod show;
mod validate;

/// Look into tokens, ask the broker about them, give them back
#[derive(Subcommand)]
pub(crate) enum Token {
    Inspect(inspect::Inspect),
    Validate(validate::Validate),
    Release(release::Release),
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Inspect(inspect) => inspect.run(context).await,
            Self::Validate(validate) => validate.run(context).await,
            Self::Release(release) => release.run(context).await,
        }
    }
}
