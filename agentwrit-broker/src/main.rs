//! Program `agentwrit-broker`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use agentwrit_broker::{
    Args, Broker, ClientCertificate, Command, Config, StartError, apply_schema, check, check_health, config,
    confirm_clock, mark_restored, migrate, schema_sql, stdio, store::OpenError, telemetry, withdraw_keys,
};
use agentwrit_verify::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

/// Timeout, at the end of the process, for work on blocking threads.
const BLOCKING_TIMEOUT: Duration = Duration::from_millis(500);
/// Timeout, at the end of the process, for log lines that are not read. With the time limit of
/// [`Broker::shutdown`] the process ends within 9 seconds, within 8 if its log is read.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Exit code of a broker that must not be started again before an operator has looked: its database lost commits.
const HISTORY_LOST: u8 = 3;

fn main() -> ExitCode {
    let args = match stdio::arguments::<Args>("agentwrit-broker") {
        Ok(args) => args,
        Err(ended) => return ended,
    };
    let outcome = run(&args);
    if let Err(error) = &outcome {
        // One line for each setting that is wrong.
        for line in error.to_string().lines() {
            telemetry::log::print_error(&format!("agentwrit-broker: {line}"));
        }
    }
    telemetry::log::flush(FLUSH_TIMEOUT);
    outcome.unwrap_or_else(|error| exit_code(error.as_ref()))
}

fn exit_code(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    match error.downcast_ref() {
        Some(OpenError::HistoryLost(_)) => ExitCode::from(HISTORY_LOST),
        Some(_) | None => ExitCode::FAILURE,
    }
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let config = || Config::from_process(args);
    match &args.command {
        None => {
            let config = config()?;
            telemetry::log::init(config.log_level, config.log_format, Arc::new(SystemClock))?;
            config::banner::announce(&config);
            for warning in &config.warnings {
                tracing::warn!(component = "config", "{warning}");
            }
            for variable in &config.unused {
                tracing::info!(component = "config", "{variable} is set but the store in use does not need it");
            }
            let outcome = runtime.block_on(serve(config));
            // A file system that hangs must not prevent the exit.
            runtime.shutdown_timeout(BLOCKING_TIMEOUT);
            outcome?;
        }
        Some(Command::Check { probe }) => {
            let report = runtime.block_on(check(args, *probe));
            stdio::print(format_args!("{report}")).map_err(|error| format!("stdout: {error}"))?;
            return Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Some(Command::MarkRestored { clock_is_right }) => {
            print_done(&runtime.block_on(mark_restored(&config()?, *clock_is_right))?)?;
        }
        Some(Command::WithdrawKey { kids, reason }) => {
            print_done(&runtime.block_on(withdraw_keys(&config()?, kids, reason.as_deref()))?)?;
        }
        Some(Command::ConfirmClock) => print_done(&runtime.block_on(confirm_clock(&config()?))?)?,
        Some(Command::Migrate { from, to }) => {
            print_done(&runtime.block_on(migrate(args, from.as_deref(), to.as_deref()))?)?;
        }
        Some(Command::Schema { apply: false, role }) => print_done(&schema_sql(role.as_deref()))?,
        Some(Command::Schema { apply: true, role }) => {
            print_done(&runtime.block_on(apply_schema(args, role.clone()))?)?;
        }
        Some(Command::Health { client_cert, client_key }) => {
            let client = client_cert.clone().zip(client_key.clone()).map(|(cert, key)| ClientCertificate { cert, key });
            runtime.block_on(check_health(&config()?, client.as_ref()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the result of a command. If stdout fails, the error holds both.
fn print_done(done: &dyn std::fmt::Display) -> Result<(), Box<dyn std::error::Error>> {
    stdio::print(format_args!("{done}")).map_err(|error| format!("{done}; stdout: {error}").into())
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let broker = match Broker::start(config).await {
        Err(StartError::Open(lost @ OpenError::HistoryLost(_))) => return Err(lost.into()),
        started => started?,
    };
    let lost = loop {
        tokio::select! {
            _ = hang_up.recv() => broker.reload(),
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            lost = broker.history_lost() => break Some(lost),
        }
    };
    broker.shutdown().await;
    lost.map_or(Ok(()), |lost| Err(OpenError::HistoryLost(Box::new(lost)).into()))
}
