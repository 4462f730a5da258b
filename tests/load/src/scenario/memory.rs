//! Registrations with short lifetimes, and the broker's memory over time.

use std::time::{Duration, Instant};

use super::{Context, LoadError};
use crate::{
    agent::{Client, Launch},
    args,
    drive::{Limits, drive},
    process::Memory,
    report::{Report, mebibytes},
    tally::Tally,
};

pub(crate) async fn run(context: &Context, options: &args::Memory) -> Result<Report, LoadError> {
    let pid = context.broker_pid().ok_or(LoadError::NoPid)?;
    let (mut clients, mut health) = context.health(context.clients(options.clients)).await;
    let mut report = context.report("memory");
    note(&mut report, "before", Memory::of(pid)?);
    let deadline = Instant::now() + Duration::from_secs(options.time);
    let (mut total, mut done) = (Tally::default(), 0);
    for sample in 1..=options.samples {
        // Rounded so that the last sample completes the total.
        let upto = options.registrations.saturating_mul(sample) / options.samples;
        let limits =
            Limits { time: deadline.saturating_duration_since(Instant::now()), count: upto.saturating_sub(done) };
        let ttl = options.ttl;
        let (back, tally) = drive(clients, limits, async move |client: &mut Client, tally| {
            client.register(Launch { max_ttl: ttl, task_id: "task" }, tally).await.map(drop)
        })
        .await;
        (clients, done) = (back, upto);
        total.append(&tally);
        let registered = total.find("full registration").map_or(0, crate::histogram::Histogram::count);
        note(&mut report, &format!("after {registered} registrations"), Memory::of(pid)?);
        if Instant::now() >= deadline || tally.failed > 0 {
            break;
        }
    }
    if options.settle > 0 {
        tokio::time::sleep(Duration::from_secs(options.settle)).await;
        note(&mut report, &format!("{} s later", options.settle), Memory::of(pid)?);
    }
    health.append(&context.health(clients).await.1);
    report.add(&total, options.clients, "");
    report.add(&health, options.clients, "");
    Ok(report)
}

fn note(report: &mut Report, when: &str, memory: Memory) {
    report.figure(format!("resident {when}"), mebibytes(memory.resident), "MiB");
    report.figure(format!("of it anonymous {when}"), mebibytes(memory.anonymous), "MiB");
    report.figure(format!("peak {when}"), mebibytes(memory.peak), "MiB");
}
