//! A protected service for tokens that are bound to the agent's key.
//!
//! ```sh
//! cargo run -p bound-records -- --external-url http://127.0.0.1:9000
//! cargo run -p bound-records -- --external-url https://records.example --certificate cert.pem --private-key key.pem
//! ```

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode};

use agentwrit_verify::{proof::ProofVerifier, remote::Follower};
use bound_records::{routes, routes_over_tls, tls};
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

#[derive(Parser)]
#[command(about = "A protected service for tokens that are bound to the agent's key")]
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
    /// URL by which clients reach this service; proofs name it
    #[arg(long, value_name = "URL")]
    external_url: String,
    /// Reject tokens that are not bound to a key
    #[arg(long)]
    require_proof: bool,
    /// Certificate chain of this service: clients may prove their key by a certificate too
    #[arg(long, value_name = "FILE", requires = "private_key")]
    certificate: Option<PathBuf>,
    /// Private key of the certificate
    #[arg(long, value_name = "FILE", requires = "certificate")]
    private_key: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bound-records: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let proofs = ProofVerifier::builder().external_url(&arguments.external_url)?;
    let proofs = if arguments.require_proof { proofs.require_proof() } else { proofs }.build();
    let follower = Follower::builder(&arguments.broker).issuer(&arguments.issuer).start().await?;
    let verifier = follower.verifier().build();

    let listener = TcpListener::bind(arguments.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut end = signal(SignalKind::terminate())?;
    let ended = async move {
        end.recv().await;
    };
    match (arguments.certificate, arguments.private_key) {
        (Some(certificate), Some(private_key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
            let key = PrivateKeyDer::from_pem_file(private_key)?;
            let config = tls::config(chain, key, tls::ClientKeys::Certificates)?;
            let routes = routes_over_tls(verifier, proofs).into_make_service_with_connect_info::<tls::Connection>();
            axum::serve(tls::TlsListener::new(listener, config)?, routes).with_graceful_shutdown(ended).await?;
        }
        _ => axum::serve(listener, routes(verifier, proofs)).with_graceful_shutdown(ended).await?,
    }
    Ok(())
}
