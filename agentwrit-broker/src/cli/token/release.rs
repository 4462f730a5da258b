//! `awrit token release`.

use clap::Args;
use serde_json::json;

use crate::cli::{
    context::{Context, given_secret},
    error::CliError,
};

/// Give a token back: it is dead from now on
///
/// What was delegated from it lives on until its own expiry. Repeating it is harmless.
#[derive(Args)]
pub(in crate::cli) struct Release {
    /// The token; `-` reads it from stdin
    #[arg(long, value_name = "TOKEN")]
    token: String,
}

impl Release {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        context.client()?.release(&given_secret(&self.token)?).await?;
        context.output.show(&json!({ "released": true }), |out| writeln!(out, "Released."))
    }
}
