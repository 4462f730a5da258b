//! `awrit agent`: registration of an agent. The lists are in [`inventory`](crate::inventory).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use agentwrit_client::{AgentKey, NewLaunchToken, Registration};
use agentwrit_protocol::TokenType;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    attestation::{self, AttestationOptions, AttestedAgent},
    context::{Context, read_file, token_argument},
    error::CliError,
    format,
    inventory::{ListAgents, ShowAgent},
    key_file::KeyPair,
    output,
};

/// Register, list and show agents, and make their keys
#[derive(Subcommand)]
pub(crate) enum Agent {
    Register(Register),
    List(ListAgents),
    Show(ShowAgent),
    Keygen(Keygen),
}

impl Agent {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Register(register) => register.run(context).await,
            Self::List(list) => list.run(context).await,
            Self::Show(show) => show.run(context).await,
            Self::Keygen(keygen) => keygen.run(context),
        }
    }
}

/// Register an agent: launch token, challenge, signature, registration
///
/// Without --launch-token one is issued first, with the admin secret, for this orchestration, task and these scopes
/// only. Without --agent-key the agent's key is generated for this registration and not kept. The token is shown this once.
///
/// With --attestation the agent needs no launch token and no secret: a trust rule (`awrit trust add`) accepts an assertion of
/// another issuer, a CI job's ID token, a Kubernetes service account's or a JWT-SVID. It counts once.
///
/// With --sender-constrained the token is bound to the agent's key (RFC 9449): each request needs a proof, which
/// `awrit token proof` signs with the same key.
#[derive(Args)]
#[command(after_help = "\
Examples:
  awrit agent register --orch-id reports --task-id nightly-7 --scopes read:data:sales
  TOKEN=$(awrit agent register --orch-id reports --task-id t1 --scopes read:data:sales --json | jq -r .access_token)
  awrit agent register --orch-id reports --task-id t1 --scopes read:data:sales --agent-key agent.pem --sender-constrained
  awrit agent register --attestation github --audience agentwrit --scopes write:releases:api
  awrit agent register --attestation /var/run/secrets/agentwrit/token --attestation-kind kubernetes --scopes read:data:sales
  echo \"$LAUNCH_TOKEN\" | awrit agent register --launch-token - --orch-id o --task-id t --scopes read:data:sales")]
pub(crate) struct Register {
    /// Orchestration, part of the agent's SPIFFE id; with --attestation the trust rule may determine it
    #[arg(long, required_unless_present = "attestation")]
    orch_id: Option<String>,
    /// Task, part of the agent's SPIFFE id; with --attestation the trust rule may determine it
    #[arg(long, required_unless_present = "attestation")]
    task_id: Option<String>,
    /// Scopes to request for the agent
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// Existing launch token; `-` reads it from stdin
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["max_ttl", "name"])]
    launch_token: Option<String>,
    #[command(flatten)]
    attestation: AttestationOptions,
    /// Lifetime of the agent's tokens in seconds, 1 to 86400 [default: as the broker is configured]
    #[arg(long, value_name = "SECONDS")]
    max_ttl: Option<u64>,
    /// Name of the agent in the audit trail [default: orchestration/task]
    #[arg(long)]
    name: Option<String>,
    /// Private key of the agent, PEM: `awrit agent keygen` makes one
    #[arg(long, value_name = "FILE")]
    agent_key: Option<PathBuf>,
    /// Bind the agent's tokens to its key
    #[arg(long, requires = "agent_key")]
    sender_constrained: bool,
}

impl Register {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let key = self.agent_key.as_deref().map(agent_key).transpose()?;
        let agent = match self.attestation.assertion().await? {
            Some(assertion) => {
                let agent = AttestedAgent {
                    scopes: &self.scopes,
                    orch_id: self.orch_id.as_deref(),
                    task_id: self.task_id.as_deref(),
                    key,
                    sender_constrained: self.sender_constrained,
                };
                attestation::register(context, assertion, agent).await?
            }
            None => self.register_with_launch_token(context, key).await?,
        };
        let (now, expires_at) = (context.clock.now(), agent.expires_at());
        let json = json!({
            "agent_id": agent.id(),
            "access_token": agent.token().expose(),
            "expires_in": expires_at.saturating_since(now).as_secs(),
            "expires_at": expires_at,
            "scope": agent.scopes(),
            "token_type": token_type(&agent),
        });
        context.output.print(&json, |out| {
            let mut fields = vec![
                ("agent_id", agent.id().to_string()),
                ("scope", format::scopes(agent.scopes())),
                ("expires_at", format::time(expires_at, now)),
                ("access_token", agent.token().expose().to_owned()),
            ];
            if agent.is_bound() {
                fields.push(("token_type", token_type(&agent).to_string()));
            }
            output::fields(out, &fields)
        })
    }

    async fn register_with_launch_token(
        &self,
        context: &Context,
        key: Option<AgentKey>,
    ) -> Result<agentwrit_client::Agent, CliError> {
        // The command line requires both without --attestation.
        let (orch_id, task_id) =
            (self.orch_id.as_deref().unwrap_or_default(), self.task_id.as_deref().unwrap_or_default());
        let mut registration = Registration::new(orch_id, task_id, &self.scopes)?;
        if let Some(key) = key {
            registration = registration.signing_key(key);
        }
        if self.sender_constrained {
            registration = registration.sender_constrained();
        }
        if let Some(launch_token) = &self.launch_token {
            return Ok(context.client()?.register(&token_argument(launch_token)?, &registration).await?);
        }
        let admin = context.admin()?;
        let launch_token = admin.create_launch_token(&self.launch_token_request(orch_id, task_id)?).await?;
        Ok(admin.client().register(launch_token.token(), &registration).await?)
    }

    fn launch_token_request(&self, orch_id: &str, task_id: &str) -> Result<NewLaunchToken, CliError> {
        let name = self.name.clone().unwrap_or_else(|| format!("{orch_id}/{task_id}"));
        let request = NewLaunchToken::new(name, &self.scopes)?.pinned_to(orch_id, task_id)?;
        Ok(match self.max_ttl {
            Some(seconds) => request.max_ttl(Duration::from_secs(seconds)),
            None => request,
        })
    }
}

fn token_type(agent: &agentwrit_client::Agent) -> TokenType {
    if agent.is_bound() { TokenType::Dpop } else { TokenType::Bearer }
}

/// Reads the private key of an agent.
pub(crate) fn agent_key(path: &Path) -> Result<AgentKey, CliError> {
    AgentKey::from_pkcs8_pem(&read_file(path)?).map_err(|error| {
        CliError::file(path, &error)
            .hint("`awrit agent keygen` makes a key, and so does `openssl genpkey -algorithm ed25519`")
    })
}

/// Make the private key of an agent
///
/// Prints the thumbprint of the public key, which the tokens of the agent name (`cnf.jkt`) when they are bound to it. Needs no
/// broker.
#[derive(Args)]
#[command(after_help = "\
Example:
  awrit agent keygen --private-key agent.pem")]
pub(crate) struct Keygen {
    /// The file to write the private key to, PEM, readable by its owner only; it must not exist
    #[arg(long, value_name = "FILE")]
    private_key: PathBuf,
}

impl Keygen {
    fn run(self, context: &Context) -> Result<(), CliError> {
        let pair = KeyPair::generate()?;
        pair.write_private(&self.private_key)?;
        let thumbprint = pair.thumbprint();
        context.output.print(&json!({ "thumbprint": thumbprint }), |out| writeln!(out, "{thumbprint}"))
    }
}
