//! `awrit token`: inspect, validate and release tokens, sign proofs. The list is in [`inventory`](crate::inventory).

use std::path::PathBuf;

use agentwrit_client::{ClientError, TokenType, Validation};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    agent::agent_key,
    context::{Context, token_argument},
    error::CliError,
    inventory::ListTokens,
    output,
};

mod claims;
mod evidence;
mod inspect;
mod proof;
mod report;

/// Inspect, validate, list and release tokens, and sign proofs for them
#[derive(Subcommand)]
pub(crate) enum Token {
    Inspect(inspect::Inspect),
    Validate(Validate),
    List(ListTokens),
    Release(Release),
    Proof(proof::Proof),
}

impl Token {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Inspect(inspect) => inspect.run(context).await,
            Self::Validate(validate) => validate.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Release(release) => release.run(context).await,
            Self::Proof(proof) => proof.run(context),
        }
    }
}

/// Ask the broker if a token is valid now; exit code 3 when it is not
#[derive(Args)]
pub(crate) struct Validate {
    /// The token; `-` reads it from stdin
    #[arg(value_name = "TOKEN")]
    token: String,
}

impl Validate {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let token = token_argument(&self.token)?;
        match context.client()?.validate(token.expose()).await? {
            Validation::Valid(claims) => {
                let now = context.clock.now();
                let json = if claims.cnf.is_some() {
                    json!({ "valid": true, "claims": claims, "token_type": TokenType::Dpop })
                } else {
                    json!({ "valid": true, "claims": claims })
                };
                context.output.print(&json, |out| {
                    writeln!(out, "valid\n")?;
                    claims::print(out, &claims, now)
                })
            }
            Validation::ValidWithOtherClaims { claims } => {
                context.output.print(&json!({ "valid": true, "claims": claims }), |out| {
                    writeln!(out, "valid\n")?;
                    let fields: Vec<_> =
                        claims.iter().map(|(name, value)| (name.as_str(), claim_text(value))).collect();
                    output::fields(out, &fields)
                })
            }
            Validation::Invalid { reason } => {
                let json = json!({ "valid": false, "error": reason });
                let printed = context.output.print(&json, |out| writeln!(out, "invalid"));
                let advice = "the broker does not say why; `awrit token inspect` does";
                CliError::negative_unless(false, printed, Some(format!("{reason} ({advice})")))
            }
            other => Err(CliError::failed(format!("the broker's response is not understood: {other:?}"))),
        }
    }
}

/// Returns a claim as text, strings without quotes.
fn claim_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Release a token: it is invalid from now on
///
/// Tokens that were delegated from it stay valid until they expire. Repeating the command is harmless.
#[derive(Args)]
pub(crate) struct Release {
    /// The token; `-` reads it from stdin
    #[arg(value_name = "TOKEN", required_unless_present = "named")]
    token: Option<String>,
    /// The token, as an option
    #[arg(long = "token", id = "named", value_name = "TOKEN", conflicts_with = "token")]
    named: Option<String>,
    /// Private key of the agent, PEM, for a token that is bound to it
    #[arg(long, value_name = "FILE")]
    agent_key: Option<PathBuf>,
}

impl Release {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let token = self.token.or(self.named).unwrap_or_default();
        let (client, token) = (context.client()?, token_argument(&token)?);
        match &self.agent_key {
            Some(path) => client.agent_with_key(token, &agent_key(path)?)?.release().await?,
            None => client.release(&token).await.map_err(|error| {
                let bound = matches!(&error, ClientError::InvalidInput { reason, .. } if reason.contains("bound"));
                let error = CliError::from(error);
                if bound { error.hint("name the key with --agent-key FILE") } else { error }
            })?,
        }
        context.output.print(&json!({ "released": true }), |out| writeln!(out, "Released."))
    }
}
