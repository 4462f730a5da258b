//! A hospital's API behind per-patient scopes, pages that drive it, and one encounter as a self-checking trace.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use agent_model::model_from_env;
use clap::Parser;
use demo_common::{
    broker::{BrokerArguments, connect},
    web::StopSignals,
};
use medassist::{
    Failure,
    assistant::{self, Parties, planner},
    encounter,
    hospital::Hospital,
    scene::{APP, Scene},
    trace::Trace,
    web::{WebOptions, pages},
};
use tokio::net::TcpListener;

/// Hospital whose AI agents hold a scope per patient: starts a broker, the hospital's API and the pages, and prints the
/// address. `LLM_BASE_URL`, `LLM_API_KEY` and `LLM_MODEL` name an OpenAI-compatible model; without them a planner stands in.
#[derive(Parser)]
struct Arguments {
    /// Play every scenario on the terminal and end; fail unless every outcome was as expected
    #[arg(long, conflicts_with = "broker")]
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
    #[command(flatten)]
    broker: BrokerArguments,
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
    println!("  broker    {}, SQLite in {}", scene.broker().url(), scene.broker().directory().display());
    println!("  hospital  {}, made-up patients", scene.hospital().url());
    let mut trace = Trace::printed();
    encounter::play(&scene, &mut trace).await?;
    println!("\n{trace}");
    let parties = scene.parties(Arc::new(assistant::planner()))?;
    let scenarios = assistant::rehearse(&parties).await;
    scene.strike().await;
    Ok(trace.is_as_expected() && scenarios)
}

async fn serve(arguments: Arguments) -> Result<(), Failure> {
    let model = model_from_env(planner)?;
    println!("medassist: {}", model.description());
    let pace = Duration::from_millis(arguments.pace);
    let options = WebOptions { pace, hosts: arguments.host, ..WebOptions::default() };
    let access = arguments.broker.access(&APP)?;
    let listener = TcpListener::bind(arguments.listen).await?;
    let Some(access) = access else {
        let scene = Scene::set().await?;
        println!("medassist: broker at {}, hospital at {}", scene.broker().url(), scene.hospital().url());
        println!("medassist: the broker's database is {}/data.db", scene.broker().directory().display());
        run(listener, scene.parties(model)?, options, scene.hospital()).await?;
        scene.strike().await;
        return Ok(());
    };
    let app = connect(&access, &APP).await?;
    let hospital = Hospital::start(&access.url, &arguments.broker.issuer).await?;
    println!("medassist: broker at {}, hospital at {}", access.url, hospital.url());
    run(listener, Parties::new(&app, &hospital, model)?, options, &hospital).await
}

/// Serves the pages until Ctrl-C or SIGTERM, then waits for the encounters in progress to release their agents.
async fn run(listener: TcpListener, parties: Parties, options: WebOptions, hospital: &Hospital) -> Result<(), Failure> {
    let runs = options.runs.clone();
    let address = listener.local_addr()?;
    // In a container it listens on every address, and is published on the host's loopback interface.
    let shown =
        if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address };
    let mut stop = StopSignals::register()?;
    println!("medassist: open http://{shown}  (Ctrl-C ends it)");
    let serving = axum::serve(listener, pages(parties, options));
    let ended = tokio::select! {
        ended = async { serving.await } => ended.map_err(Into::into),
        failure = hospital.ended() => Err(failure),
        () = stop.received() => Ok(()),
    };
    if !runs.stop().await {
        eprintln!("medassist: an encounter did not end; its agents' tokens expire by themselves");
    }
    ended
}
