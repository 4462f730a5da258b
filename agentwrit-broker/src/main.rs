//! The broker as a program.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::{process::ExitCode, sync::Arc};

use agentwrit_broker::{
    Args, Broker, ClientCertificate, Command, Config, check_health, mark_restored, stdio, telemetry,
};
use agentwrit_verify::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let args = match stdio::arguments::<Args>("agentwrit-broker") {
        Ok(args) => args,
        Err(ended) => return ended,
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            stdio::note(format_args!("agentwrit-broker: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_process(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.command {
        None => {
            telemetry::log::init(config.log_level, config.log_format, Arc::new(SystemClock))?;
            for warning in &config.warnings {
                tracing::warn!(component = "config", "{warning}");
            }
            runtime.block_on(serve(config))
        }
        Some(Command::MarkRestored) => {
            runtime.block_on(mark_restored(&config))?;
            let done = "marked as restored: everything issued until now is revoked";
            stdio::print(format_args!("{done}")).map_err(|error| format!("{done}; stdout: {error}").into())
        }
        Some(Command::Health { client_cert, client_key }) => {
            let client = client_cert.zip(client_key).map(|(cert, key)| ClientCertificate { cert, key });
            Ok(runtime.block_on(check_health(&config, client.as_ref()))?)
        }
    }
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let broker = Broker::start(config).await?;
    loop {
        tokio::select! {
            _ = hang_up.recv() => broker.reload(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    broker.shutdown().await;
    Ok(())
}
