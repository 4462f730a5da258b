//! A support desk whose agents hold the rights of one ticket.
//!
//! `cargo run --release -p support-tickets` starts broker, ticket service and page on the loopback interface, and prints
//! one address. `--once` answers the prepared tickets without a page, successfully only if each went as expected.

use std::{process::ExitCode, sync::Arc, time::Duration};

use agent_model::{Model, OpenAiClient};
use clap::Parser;
use support_tickets::{
    Failure,
    desk::{DEFAULT_ISSUER, Desk, RunningBroker},
    headless, planner,
    web::Page,
};
use tokio::net::TcpListener;

#[derive(Parser)]
#[command(about = "A support desk whose agents hold the rights of one ticket, in the browser or headless")]
struct Arguments {
    /// Answer the prepared tickets and end; fail unless each went as expected
    #[arg(long)]
    once: bool,
    /// Port of the page on the loopback interface; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Use this running broker instead of starting one
    #[arg(long, value_name = "URL", requires = "client_id", requires = "client_secret")]
    broker: Option<String>,
    /// Issuer of that broker's tokens
    #[arg(long, default_value = DEFAULT_ISSUER)]
    issuer: String,
    /// Client id of an app there
    #[arg(long, env = "AGENTWRIT_CLIENT_ID")]
    client_id: Option<String>,
    /// Secret of that app
    #[arg(long, env = "AGENTWRIT_CLIENT_SECRET", hide_env_values = true)]
    client_secret: Option<String>,
    /// Pause between the steps on the page, in milliseconds, so that they can be followed
    #[arg(long, default_value_t = 300)]
    pace: u64,
    /// Lifetime of the token that is left to expire, in whole seconds, of which the first has begun when it is issued
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=300))]
    expiry: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("support-tickets: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Failure> {
    let model: Arc<dyn Model> = match OpenAiClient::from_env()? {
        Some(client) => Arc::new(client),
        None => Arc::new(planner::planner()),
    };
    println!("{}", model.description());
    let running = match (arguments.broker, arguments.client_id, arguments.client_secret) {
        (Some(url), Some(client_id), Some(client_secret)) => {
            Some(RunningBroker { url, issuer: arguments.issuer, client_id, client_secret: client_secret.into() })
        }
        _ => None,
    };
    let desk = Arc::new(Desk::start(running, model, Duration::from_secs(arguments.expiry)).await?);
    let as_expected = if arguments.once {
        headless::play_all(&desk).await
    } else {
        let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
        println!("Support desk at http://{}", listener.local_addr()?);
        let page = Page::new(Arc::clone(&desk), Duration::from_millis(arguments.pace));
        page.serve(listener, async { drop(tokio::signal::ctrl_c().await) }).await?;
        true
    };
    match Arc::try_unwrap(desk) {
        Ok(desk) => desk.stop().await,
        // A run is still going on: the process ends with it.
        Err(_) => eprintln!("support-tickets: stopped during a run"),
    }
    Ok(as_expected)
}
