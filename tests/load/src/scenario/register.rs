//! Full registrations, each with a new key.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use super::{Context, LoadError};
use crate::{
    agent::{Client, Launch},
    args::Register,
    drive::drive,
    report::{Report, milliseconds},
    tally::{Tally, per_second},
};

pub(crate) async fn run(context: &Context, options: &Register) -> Result<Report, LoadError> {
    let bounds = options.bounds;
    let (clients, mut health) = context.health(context.clients(bounds.clients)).await;
    let before = context.processor_time()?;
    let (clients, tally) = drive(clients, bounds.into(), async |client: &mut Client, tally| {
        client.register(Launch { max_ttl: 300, task_id: "task" }, tally).await.map(drop)
    })
    .await;
    let after = context.processor_time()?;
    health.append(&context.health(clients).await.1);

    let mut report = context.report("register");
    report.add(&tally, bounds.clients, "");
    report.add(&health, bounds.clients, "");
    report.figure("full registrations / health", tally.rate("full registration") / health.rate("health"), "");
    if let (Some(before), Some(after)) = (before, after) {
        let each = per_second(1, after.saturating_sub(before)).recip() * 1e6 / counted(&tally);
        report.figure("the broker's processor time per registration", each, "µs");
    }
    if let Some(directory) = &options.fsync {
        let fsync = fsync(directory)?;
        report.add(&fsync, 1, "");
        let median =
            |tally: &Tally, operation| tally.find(operation).map_or(Duration::ZERO, |times| times.quantile(500));
        let ratio = milliseconds(median(&tally, "full registration")) / milliseconds(median(&fsync, "fsync"));
        report.figure("full registration / fsync, medians", ratio, "");
    }
    Ok(report)
}

fn counted(tally: &Tally) -> f64 {
    tally.rate("full registration") * tally.took.as_secs_f64()
}

/// Measures the time to make 4 KiB at the end of a file durable.
fn fsync(directory: &Path) -> Result<Tally, LoadError> {
    let path = directory.join(format!("load-fsync-{}", std::process::id()));
    let measured = measure_fsync(&path);
    fs::remove_file(&path).unwrap_or_default();
    measured.map_err(|error| LoadError::Runtime { cause: format!("{}: {error}", path.display()) })
}

fn measure_fsync(path: &Path) -> std::io::Result<Tally> {
    let mut file = File::create_new(path)?;
    let mut tally = Tally::default();
    let started = Instant::now();
    for _ in 0..500 {
        let each = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        tally.record("fsync", each.elapsed());
    }
    tally.took = started.elapsed();
    Ok(tally)
}
