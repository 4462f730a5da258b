//! `awrit token validate`.

use agentwrit_client::Validation;
use clap::Args;
use serde_json::{Value, json};

use super::show;
use crate::{
    context::{Context, given_secret},
    error::CliError,
    output,
};

/// Ask the broker whether a token is valid now; exit code 3 when it is not
#[derive(Args)]
pub(crate) struct Validate {
    /// The token; `-` reads it from stdin
    #[arg(value_name = "TOKEN")]
    token: String,
}

impl Validate {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        let token = given_secret(&self.token)?;
        match context.client()?.validate(token.expose()).await? {
            Validation::Valid(claims) => {
                let now = context.clock.now();
                context.output.show(&json!({ "valid": true, "claims": claims }), |out| {
                    writeln!(out, "valid\n")?;
                    show::claims(out, &claims, now)
                })
            }
            Validation::ValidOtherwise { claims } => {
                context.output.show(&json!({ "valid": true, "claims": claims }), |out| {
                    writeln!(out, "valid\n")?;
                    let fields: Vec<_> = claims.iter().map(|(name, value)| (name.as_str(), plain(value))).collect();
                    output::fields(out, &fields)
                })
            }
            Validation::Invalid { reason } => {
                let answer = json!({ "valid": false, "error": reason });
                let shown = context.output.show(&answer, |out| writeln!(out, "invalid"));
                let advice = "the broker does not say why; `awrit token inspect` does";
                CliError::judged(false, shown, Some(format!("{reason} ({advice})")))
            }
            other => Err(CliError::failed(format!("the broker's verdict is not understood: {other:?}"))),
        }
    }
}

/// A claim as a person reads it: text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
