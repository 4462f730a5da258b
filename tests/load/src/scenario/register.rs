//! Full registrations, each with a new key.

use super::{Context, LoadError, compare_with_fsync};
use crate::{
    agent::{Client, Launch},
    args::Write,
    drive::drive,
    report::Report,
};

pub(crate) async fn run(context: &Context, options: &Write) -> Result<Report, LoadError> {
    let bounds = options.bounds;
    let (clients, mut health) = context.health(context.clients(bounds.clients)).await;
    let cost = context.start_cost()?;
    let (clients, tally) = drive(clients, bounds.into(), async |client: &mut Client, tally| {
        client.register(Launch { max_ttl: 300, task_id: "task" }, tally).await.map(drop)
    })
    .await;
    let cost = cost.map(|cost| context.finish_cost(cost)).transpose()?;
    health.append(&context.health(clients).await.1);

    let mut report = context.report("register");
    report.add(&tally, bounds.clients, "");
    report.add(&health, bounds.clients, "");
    report.figure("full registrations / health", tally.rate("full registration") / health.rate("health"), "");
    if let Some(cost) = cost {
        cost.report(&mut report, &tally, "full registration");
    }
    compare_with_fsync(&mut report, options, &tally, "full registration")?;
    Ok(report)
}
