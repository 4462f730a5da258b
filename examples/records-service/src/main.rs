//! A protected service that takes bearer tokens and, with proofs, tokens that are bound to their agent's key. It reports to the
//! broker which revocations it applies, so that `awrit revoke --wait` counts it.
//!
//! ```sh
//! awrit verifier keygen --private-key verifier.pem > verifier.pub
//! awrit verifier add records-api --public-key verifier.pub --max-bound 30
//! cargo run -p records-service -- --verifier records-api --key verifier.pem
//! ```

use std::{error::Error, fs, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use agentwrit_tower::{AwaitRevocations, RequireScope, Verified};
use agentwrit_verify::{
    issue::SigningKey,
    proof::ProofVerifier,
    remote::{Follower, FollowerBuilder},
    report::VerifierName,
};
use axum::{Router, extract::Path, routing::get};
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

#[derive(Parser)]
#[command(about = "A protected service that reports to the broker which revocations it applies")]
struct Arguments {
    /// Address of the broker
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    broker: String,
    /// Issuer of the tokens to accept
    #[arg(long, default_value = "https://agentwrit.local")]
    issuer: String,
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// URL by which clients reach this service, up to the path that it receives itself; repeatable. Default: the address
    /// that it listens on
    #[arg(long, value_name = "URL")]
    external_url: Vec<String>,
    /// Proxy, or network of proxies, whose forwarded headers may add a prefix to an external URL; repeatable
    #[arg(long, value_name = "NETWORK")]
    proxy: Vec<String>,
    /// Name under which the operator enrolled this service; without it nothing is reported
    #[arg(long, value_name = "NAME", requires = "key")]
    verifier: Option<String>,
    /// Private key of that verifier (`awrit verifier keygen`)
    #[arg(long, value_name = "FILE", requires = "verifier")]
    key: Option<PathBuf>,
    /// Maximum age of the revocation list in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    max_staleness: u64,
    /// How far this machine's clock may be behind the broker's, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    clock_leeway: u64,
    /// Accept a revocation list of any age: the broker can't wait for such a service with certainty
    #[arg(long)]
    accept_stale_revocations: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("records-service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let follower = follower(arguments)?.start().await?;
    let verifier = follower.verifier().build();
    let listener = TcpListener::bind(arguments.listen).await?;
    // Tokens that are bound to a key come with a proof for a URL (RFC 9449): the one by which clients reach this service.
    let own_url = format!("http://{}", listener.local_addr()?);
    let mut proofs = ProofVerifier::builder().external_url(arguments.external_url.first().unwrap_or(&own_url))?;
    for url in arguments.external_url.iter().skip(1) {
        proofs = proofs.external_url(url)?;
    }
    let mut required = RequireScope::new("read:records:{id}").verifier(verifier.clone()).proofs(proofs.build());
    if !arguments.proxy.is_empty() {
        required = required.try_forwarded_from(&arguments.proxy)?;
    }
    let routes = Router::new()
        .route("/records/{id}", get(read))
        .layer(required)
        // A request that requires a revocation waits here until the list has it.
        .layer(AwaitRevocations::new(verifier))
        // The address of a proxy, or of a client that pretends to be one.
        .into_make_service_with_connect_info::<SocketAddr>();

    println!("listening on {}", listener.local_addr()?);
    let mut end = signal(SignalKind::terminate())?;
    let ended = async move {
        end.recv().await;
    };
    axum::serve(listener, routes).with_graceful_shutdown(ended).await?;
    // No revocation waits for this process any more.
    follower.leave().await;
    Ok(())
}

fn follower(arguments: &Arguments) -> Result<FollowerBuilder, Box<dyn Error>> {
    let mut builder = Follower::builder(&arguments.broker)
        .issuer(&arguments.issuer)
        .max_staleness(Duration::from_secs(arguments.max_staleness))
        .clock_leeway(Duration::from_secs(arguments.clock_leeway));
    if arguments.accept_stale_revocations {
        builder = builder.accept_stale_revocations();
    }
    if let (Some(name), Some(path)) = (&arguments.verifier, &arguments.key) {
        let key = fs::read(path).map_err(|error| format!("the key `{}` cannot be read: {error}", path.display()))?;
        builder = builder.identity(VerifierName::parse(name)?, SigningKey::from_pkcs8_pem(&key)?);
    }
    Ok(builder)
}

async fn read(Path(id): Path<String>, caller: Verified) -> String {
    format!("record {id}, for {}\n", caller.subject())
}
