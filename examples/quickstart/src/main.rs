//! A broker, a protected service and four agents, in one process and one readable trace. The last agent has no secret: an
//! identity provider attests it.
//!
//! `cargo run --release -p quickstart` keeps the broker and the service running and prints `curl` lines to try;
//! with `--once` it ends after the trace, successfully only if every outcome was as expected.

mod identity_provider;
mod service;
mod trace;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::ExitCode, time::Duration};

use agentwrit_broker::{Broker, Config};
use agentwrit_client::{
    Admin, Agent, App, AttestationKind, ClaimMatch, ClaimValue, Client, JwkSetText, NewApp, RevocationTarget,
    StaticSource, TrustRuleRequest,
};
use agentwrit_verify::{AppId, Scope, ScopeSet, Subject};
use clap::Parser;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{identity_provider::IdentityProvider, trace::Step};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Lifetime of the agents' tokens: long enough to try the printed lines.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Timeout for the propagation of a revocation to the service.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of requests of the trace.
const OUTCOMES: usize = 8;

/// Repository whose CI jobs the trust rule accepts.
const REPOSITORY: &str = "acme/api";

#[derive(Parser)]
#[command(about = "A broker, a protected service and four agents, in one process and one readable trace")]
struct Arguments {
    /// End after the trace; fail unless every outcome was as expected
    #[arg(long)]
    once: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("quickstart: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let scene = Scene::set().await?;
    let reader = scene.agent("read-data", "read:data:*").await?;
    let writer = scene.agent("write-data", "write:data:*").await?;
    let leaked = scene.agent("leaked", "read:data:*").await?;
    let attested = scene.attested_agent().await?;
    scene.introduce(&[&reader, &writer, &leaked, &attested]);

    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(10)).build()?;
    let url = scene.data_url();
    let mut right = 0;
    for step in Step::with_broker(&reader, &writer) {
        right += usize::from(step.take(&client, &url).await?);
    }
    right += usize::from(Step::attested(&attested).take(&client, &url).await?);
    right += usize::from(Step::before_revocation(&leaked).take(&client, &url).await?);
    scene.revoke(&leaked).await?;
    right += usize::from(Step::after_revocation(&leaked).take_within(REVOCATION_TIMEOUT, &client, &url).await?);
    let scene = scene.without_broker().await?;
    right += usize::from(Step::without_broker(&reader).take(&client, &url).await?);
    println!(
        "\n{right} of {OUTCOMES} outcomes as expected; the last three are the point: a revocation arrives within \
         milliseconds, and no broker was asked about any request."
    );

    if !arguments.once {
        scene.stay(&reader, &writer).await?;
    }
    Ok(right == OUTCOMES)
}

/// Broker, service and app of the example.
struct Scene {
    broker: Option<Broker>,
    broker_address: SocketAddr,
    service: JoinHandle<Result<(), Failure>>,
    service_address: SocketAddr,
    app: App,
    app_id: AppId,
    admin: Admin,
    admin_secret: String,
    directory: TempDir,
}

impl Scene {
    async fn set() -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("agentwrit-quickstart-").tempdir()?;
        let admin_secret = random_secret()?;
        let broker = start_broker(directory.path(), &admin_secret, 0).await?;
        let broker_address = broker.local_addr();
        let broker_url = format!("http://{broker_address}");

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let service_address = listener.local_addr()?;
        let url = broker_url.clone();
        let service = tokio::spawn(async move { service::serve(&url, listener).await });

        let client = Client::new(broker_url)?;
        let admin = client.admin(admin_secret.clone())?;
        let ceiling = NewApp::new("quickstart", ["read:data:*", "write:data:*"])?;
        let credentials = admin.create_app(&ceiling).await?;
        let app_id = credentials.record.app_id;
        let app = client.app(credentials.record.client_id, credentials.client_secret)?;
        Ok(Self {
            broker: Some(broker),
            broker_address,
            service,
            service_address,
            app,
            app_id,
            admin,
            admin_secret,
            directory,
        })
    }

    async fn agent(&self, task: &str, scope: &str) -> Result<Agent, Failure> {
        Ok(self.app.agent("quickstart", task).scope([scope])?.max_ttl(LIFETIME).create().await?)
    }

    /// Registers an agent with an ID token of a CI job, as `GitHubActionsSource` gets one: no secret of the broker is
    /// involved. The trust rule makes the orchestration and the task of the token's claims.
    async fn attested_agent(&self) -> Result<Agent, Failure> {
        let provider = IdentityProvider::new()?;
        self.trust(&provider).await?;
        let source = StaticSource::new(AttestationKind::Oidc, provider.id_token(REPOSITORY, 7));
        let agent = self.app.client().attested(source).agent(["read:data:*"])?.create().await?;
        Ok(agent)
    }

    /// Accepts the provider's ID tokens for jobs of one repository.
    async fn trust(&self, provider: &IdentityProvider) -> Result<(), Failure> {
        let condition = ClaimMatch::Equals(ClaimValue::Text(String::from(REPOSITORY)));
        let rule = TrustRuleRequest {
            name: String::from("ci"),
            app_id: self.app_id.clone(),
            kind: AttestationKind::Oidc,
            issuer: String::from(IdentityProvider::ISSUER),
            jwks_url: None,
            jwks: Some(JwkSetText::parse(provider.key_set().as_bytes())?),
            audience: String::from("agentwrit"),
            claims: BTreeMap::from([(String::from("repository"), condition)]),
            allowed_scope: ScopeSet::parse(["read:data:*"])?,
            max_ttl: LIFETIME.as_secs(),
            orch_template: Some(String::from("{repository}")),
            task_template: Some(String::from("run-{run_id}")),
            token_review: false,
        };
        self.admin.create_trust_rule(&rule).await?;
        Ok(())
    }

    /// Revokes an agent, and returns after the broker's acknowledgement.
    async fn revoke(&self, agent: &Agent) -> Result<(), Failure> {
        let target = RevocationTarget::Subject(Subject::Agent(agent.id().clone()));
        let revoked = self.admin.revoke(&target, Some("its token was seen in a log")).await?;
        if !revoked.revoked {
            return Err("the broker knows nothing of the agent that it registered".into());
        }
        Ok(())
    }

    fn introduce(&self, agents: &[&Agent]) {
        println!("  broker   http://{}, SQLite in {}", self.broker_address, self.directory.path().display());
        println!("  service  {}, requires read:data:*", self.data_url());
        for agent in agents {
            let scopes: Vec<&str> = agent.scopes().iter().map(Scope::as_str).collect();
            println!("  agent    {} may {}", agent.id(), scopes.join(" "));
        }
        println!();
    }

    fn data_url(&self) -> String {
        format!("http://{}/data/7", self.service_address)
    }

    /// Stops the broker, and checks that nothing responds in its place.
    async fn without_broker(mut self) -> Result<Self, Failure> {
        if let Some(broker) = self.broker.take() {
            broker.shutdown().await;
        }
        match self.app.client().health().await {
            Ok(_) => Err("the broker still answers after its shutdown".into()),
            Err(_) => Ok(self),
        }
    }

    /// Starts the broker again, on the same files and port, and leaves everything to the user until Ctrl-C.
    async fn stay(self, reader: &Agent, writer: &Agent) -> Result<(), Failure> {
        let broker = start_broker(self.directory.path(), &self.admin_secret, self.broker_address.port()).await?;
        self.print_lines_to_try(reader, writer);
        tokio::signal::ctrl_c().await?;
        self.service.abort();
        broker.shutdown().await;
        Ok(())
    }

    fn print_lines_to_try(&self, reader: &Agent, writer: &Agent) {
        let (broker, data, secret) = (format!("http://{}", self.broker_address), self.data_url(), &self.admin_secret);
        println!(
            r#"
The broker is back, on the same files and port. Until Ctrl-C, try:

READER='{reader}'
WRITER='{writer}'

curl -isw '\n' -H "Authorization: Bearer $READER" {data}      # 200
curl -isw '\n' -H "Authorization: Bearer $WRITER" {data}      # 403
curl -isw '\n' {data}                                         # 401

curl -sw '\n' {broker}/v1/health
curl -sw '\n' {broker}/.well-known/jwks.json
curl -sw '\n' {broker}/v1/token/validate -d '{{"token":"'$READER'"}}'
curl -sw '\n' {broker}/v1/admin/auth -d '{{"secret":"{secret}"}}'"#,
            reader = reader.token().expose(),
            writer = writer.token().expose(),
        );
    }
}

async fn start_broker(directory: &Path, admin_secret: &str, port: u16) -> Result<Broker, Failure> {
    let mut config = Config::for_development(directory, admin_secret)?;
    config.bind = SocketAddr::from(([127, 0, 0, 1], port));
    Ok(Broker::start(config).await?)
}

fn random_secret() -> Result<String, Failure> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
    Ok(data_encoding::HEXLOWER.encode(&secret))
}
