//! `awrit token release`.

use clap::Args;
use serde_json::json;

use crate::{
    context::{Context, given_secret},
    error::CliError,
};

/// Give a token back: it is dead from now on
///
/// What was delegated from it lives on until its own expiry. Repeating it is harmless.
#[derive(Args)]
pub(crate) struct Release {
    /// The token; `-` reads it from stdin
    #[arg(value_name = "TOKEN", required_unless_present = "named")]
    token: Option<String>,
    /// The same, by name
    #[arg(long = "token", id = "named", value_name = "TOKEN", conflicts_with = "token")]
    named: Option<String>,
}

impl Release {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let given = self.token.or(self.named).unwrap_or_default();
        context.client()?.release(&given_secret(&given)?).await?;
        context.output.show(&json!({ "released": true }), |out| writeln!(out, "Released."))
    }
}
