//! A hospital's API behind per-patient scopes, pages that drive it, and one encounter as a self-checking trace.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use agent_model::{Model, OpenAiClient};
use clap::Parser;
use medassist::{
    Failure, assistant,
    connect::{self, BrokerAccess},
    encounter,
    hospital::{Hospital, ISSUER},
    scene::Scene,
    trace::Trace,
    web::{WebOptions, pages},
};
use tokio::net::TcpListener;

/// Hospital whose AI agents hold a scope per patient: starts a broker, the hospital's API and the pages, and prints the
/// address. `LLM_BASE_URL`, `LLM_API_KEY` and `LLM_MODEL` name an OpenAI-compatible model; without them a planner stands in.
#[derive(Parser)]
struct Arguments {
    /// Play every scenario on the terminal and end; fail unless every outcome was as expected
    #[arg(long)]
    once: bool,
    /// Address of the pages
    #[arg(long, default_value = "127.0.0.1:5000", conflicts_with = "once", env = "MEDASSIST_LISTEN")]
    listen: SocketAddr,
    /// Name by which a browser reaches the pages, beside those of the loopback interface
    #[arg(long, conflicts_with = "once")]
    host: Vec<String>,
    /// Pause between steps, in milliseconds
    #[arg(long, default_value_t = 150)]
    pace: u64,
    /// URL of a running broker, with `AGENTWRIT_CLIENT_ID` and `AGENTWRIT_CLIENT_SECRET`, or `AGENTWRIT_ADMIN_SECRET` alone to
    /// register the app
    #[arg(long, conflicts_with = "once", env = "AGENTWRIT_BROKER_URL")]
    broker: Option<String>,
    /// Issuer of the broker's tokens
    #[arg(long, default_value = ISSUER)]
    issuer: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ran = if arguments.once { once().await } else { serve(arguments).await.map(|()| true) };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("medassist: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the encounter of the tour, then the scenarios of the page with the planner.
async fn once() -> Result<bool, Failure> {
    let scene = Scene::set().await?;
    println!("  broker    {}, SQLite in {}", scene.broker_url(), scene.directory());
    println!("  hospital  {}, made-up patients", scene.hospital_url());
    let mut trace = Trace::printed();
    encounter::play(&scene, &mut trace).await?;
    println!("\n{trace}");
    let parties = scene.parties(Arc::new(assistant::planner()))?;
    let scenarios = assistant::rehearse(&parties).await;
    scene.strike().await;
    Ok(trace.is_as_expected() && scenarios)
}

async fn serve(arguments: Arguments) -> Result<(), Failure> {
    let model: Arc<dyn Model> = match OpenAiClient::from_env()? {
        Some(client) => Arc::new(client),
        None => Arc::new(assistant::planner()),
    };
    println!("medassist: {}", model.description());
    let options = WebOptions { pace: Duration::from_millis(arguments.pace), hosts: arguments.host };
    let listener = TcpListener::bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    let Some(broker) = arguments.broker else {
        let scene = Scene::set().await?;
        println!("medassist: broker at {}, hospital at {}", scene.broker_url(), scene.hospital_url());
        println!("medassist: the broker's database is {}/data.db", scene.directory());
        run(listener, address, pages(scene.parties(model)?, options)).await?;
        scene.strike().await;
        return Ok(());
    };
    let access = BrokerAccess::from_env(&broker)?;
    let connected = connect::connect(&access).await?;
    let hospital = Hospital::start(&broker, &arguments.issuer).await?;
    println!("medassist: broker at {broker}, hospital at {}", hospital.url());
    run(listener, address, pages(connected.parties(&hospital, model)?, options)).await
}

/// Serves the pages until Ctrl-C or SIGTERM.
async fn run(listener: TcpListener, address: SocketAddr, pages: axum::Router) -> Result<(), Failure> {
    // In a container it listens on every address, and is published on the host's loopback interface.
    let shown =
        if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address };
    println!("medassist: open http://{shown}  (Ctrl-C ends it)");
    tokio::select! {
        ended = async { axum::serve(listener, pages).await } => Ok(ended?),
        signal = stop_signal() => Ok(signal?),
    }
}

async fn stop_signal() -> std::io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}
