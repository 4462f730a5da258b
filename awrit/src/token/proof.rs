//! `awrit token proof`: a proof of possession for one request (RFC 9449), for curl and scripts.

use std::path::PathBuf;

use agentwrit_client::{AgentKey, Secret};
use agentwrit_verify::{UnverifiedToken, proof::ProofRequest};
use clap::Args;
use serde_json::json;

use crate::{
    agent::agent_key,
    context::{Context, read_secret, token_argument},
    error::CliError,
};

/// Sign the proof of one request with a token that is bound to the agent's key (RFC 9449)
///
/// The proof goes into the header `DPoP`, the token into `Authorization: DPoP`; --headers prints both for curl. A proof is for
/// one method, one URL and one token, counts once, and is accepted for a minute. Sends nothing and needs no broker.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit token proof --agent-key agent.pem --token-file token.txt --method GET --url https://records.example/P-1 --headers |
    curl -H @- https://records.example/P-1
  curl -H \"Authorization: DPoP $TOKEN\" https://records.example/P-1 \\
    -H \"DPoP: $(awrit token proof --agent-key agent.pem --token \"$TOKEN\" --method GET --url https://records.example/P-1)\"")]
pub(crate) struct Proof {
    /// Private key of the agent, PEM; the token is bound to it
    #[arg(long, value_name = "FILE")]
    agent_key: PathBuf,
    /// Method of the request
    #[arg(long)]
    method: String,
    /// URL of the request, as it is sent; a query is left out of the proof
    #[arg(long)]
    url: String,
    /// The token; `-` reads it from stdin. Without a token, the proof is for none
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// Read the token from this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Nonce from the header `DPoP-Nonce` of the response that demands one
    #[arg(long)]
    nonce: Option<String>,
    /// Print the headers `Authorization` and `DPoP`, for `curl -H @-`
    #[arg(long)]
    headers: bool,
}

impl Proof {
    pub(super) fn run(self, context: &Context) -> Result<(), CliError> {
        let key = agent_key(&self.agent_key)?;
        let token = self.token()?;
        if let Some(token) = &token {
            let claims = UnverifiedToken::decode(token.expose()).and_then(|token| token.claims());
            let claims = claims.map_err(|error| CliError::failed(format!("not a token: {error}")))?;
            match claims.cnf {
                Some(constraint) if constraint.jkt == key.thumbprint() => {}
                Some(constraint) => {
                    let reason = format!("the token is bound to the key `{}`, not to this one", constraint.jkt);
                    return Err(CliError::file(&self.agent_key, &reason));
                }
                None => {
                    return Err(CliError::failed(
                        "the token is not bound to a key: send it as `Authorization: Bearer`",
                    ));
                }
            }
        }
        if self.headers && token.is_none() {
            return Err(CliError::Usage("--headers needs --token or --token-file".to_owned()));
        }
        let proof = self.sign(context, &key, token.as_ref())?;
        let headers = token.filter(|_| self.headers);
        context.output.print(&json!({ "proof": proof }), |out| {
            if let Some(token) = &headers {
                writeln!(out, "Authorization: DPoP {}", token.expose())?;
                return writeln!(out, "DPoP: {proof}");
            }
            writeln!(out, "{proof}")
        })
    }

    fn sign(&self, context: &Context, key: &AgentKey, token: Option<&Secret>) -> Result<String, CliError> {
        let is_absolute = self.url.split_once("://").is_some_and(|(scheme, rest)| {
            matches!(&*scheme.to_ascii_lowercase(), "http" | "https")
                && !rest.starts_with(['/', '?', '#'])
                && !rest.is_empty()
        });
        if !is_absolute {
            return Err(CliError::Usage(format!("`{}` is not an absolute URL of http or https", self.url)));
        }
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).map_err(|error| CliError::failed(format!("no randomness for a proof: {error}")))?;
        let mut request = ProofRequest::new(&self.method, &self.url, context.clock.now(), jti);
        if let Some(token) = token {
            request = request.access_token(token.expose());
        }
        if let Some(nonce) = &self.nonce {
            request = request.nonce(nonce);
        }
        Ok(key.sign_proof(&request))
    }

    fn token(&self) -> Result<Option<Secret>, CliError> {
        match (&self.token, &self.token_file) {
            (Some(argument), _) => token_argument(argument).map(Some),
            (None, Some(path)) => Ok(Some(Secret::from(read_secret(path)?.expose().trim()))),
            (None, None) => Ok(None),
        }
    }
}
