//! A support desk whose agents hold the rights of one ticket.
//!
//! `cargo run --release -p support-tickets` starts broker, ticket service and page on the loopback interface, and prints
//! one address. `--once` answers the prepared tickets without a page, successfully only if each went as expected.

use std::{pin::pin, process::ExitCode, sync::Arc, time::Duration};

use agent_model::model_from_env;
use clap::Parser;
use demo_common::{
    broker::{BrokerArguments, connect},
    web::StopSignals,
};
use support_tickets::{
    Failure,
    desk::{APP, Desk, RunningBroker},
    headless,
    planner::planner,
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
    #[command(flatten)]
    broker: BrokerArguments,
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
    let model = model_from_env(planner)?;
    println!("{}", model.description());
    let running = match arguments.broker.access(&APP)? {
        Some(access) => Some(RunningBroker { app: connect(&access, &APP).await?, issuer: arguments.broker.issuer }),
        None => None,
    };
    let mut stop = StopSignals::register()?;
    let desk = Arc::new(Desk::start(running, model, Duration::from_secs(arguments.expiry)).await?);
    let outcome = if arguments.once {
        Ok(play_all(&desk, &mut stop).await)
    } else {
        let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
        println!("Support desk at http://{}", listener.local_addr()?);
        let page = Page::new(Arc::clone(&desk), Duration::from_millis(arguments.pace));
        tokio::select! {
            served = page.serve(listener) => served.map(|()| true),
            failure = desk.service_ended() => Err(failure),
            () = stop.received() => Ok(true),
        }
    };
    if !desk.stop().await {
        eprintln!("support-tickets: a run did not end; its agents' tokens expire by themselves");
    }
    outcome
}

/// Plays all prepared tickets. A signal ends the run in progress, which releases its agents.
async fn play_all(desk: &Desk, stop: &mut StopSignals) -> bool {
    let mut playing = pin!(headless::play_all(desk));
    tokio::select! {
        as_expected = &mut playing => return as_expected,
        () = stop.received() => {}
    }
    // The runs of the terminal take no place: `playing` ends with the run in progress.
    tokio::join!(desk.runs().stop(), playing);
    false
}
