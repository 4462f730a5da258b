//! Load tool: runs agents against a broker and reports its speed. README.md has the commands.

mod agent;
mod args;
mod cgroup;
mod drive;
mod histogram;
mod hostile;
mod http;
mod limited;
mod process;
mod report;
mod scenario;
mod tally;
mod target;
mod yardstick;

use std::process::ExitCode;

use clap::Parser;

use self::{
    args::{Args, Command},
    report::Report,
    scenario::{Context, LoadError, feed, flood, health, memory, memory_limit, register, renew, reports, validate},
};

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(report) => {
            println!("{}", if args.json { report.to_json() } else { report.to_text() });
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// One thread: the broker needs the other cores.
fn run(args: &Args) -> Result<Report, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| LoadError::Runtime { cause: cause.to_string() })?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        if let Command::MemoryLimit(options) = &args.command {
            return memory_limit::run(args, options).await;
        }
        let context = Context::new(args)?;
        match &args.command {
            Command::Register(options) => register::run(&context, options).await,
            Command::Validate(options) => validate::run(&context, options).await,
            Command::Renew(options) => renew::run(&context, options).await,
            Command::Health(options) => health::run(&context, options).await,
            Command::Flood(options) => flood::run(&context, options).await,
            Command::Memory(options) => memory::run(&context, options).await,
            Command::MemoryLimit(options) => memory_limit::run(args, options).await,
            Command::Feed(options) => feed::run(&context, options).await,
            Command::Reports(options) => reports::run(&context, options).await,
        }
    })
}
