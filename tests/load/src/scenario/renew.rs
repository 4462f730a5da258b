//! Renewals, each of the previous one's token.

use super::{Context, LoadError, compare_with_fsync};
use crate::{agent::Client, args::Write, drive::drive, report::Report};

pub(crate) async fn run(context: &Context, options: &Write) -> Result<Report, LoadError> {
    let bounds = options.bounds;
    let (clients, tokens) = context.enrol(context.clients(bounds.clients), u64::from(bounds.clients)).await?;
    let (clients, mut health) = context.health(clients).await;
    let holders: Vec<_> = clients.into_iter().zip(tokens).collect();
    let cost = context.start_cost()?;
    let (holders, tally) = drive(holders, bounds.into(), async |(client, token): &mut (Client, String), tally| {
        *token = tally.time("renew", client.renew(token)).await?;
        Ok(())
    })
    .await;
    let cost = cost.map(|cost| context.finish_cost(cost)).transpose()?;
    health.append(&context.health(holders.into_iter().map(|(client, _)| client).collect()).await.1);

    let mut report = context.report("renew");
    report.add(&tally, bounds.clients, "");
    report.add(&health, bounds.clients, "");
    report.figure("renew / health", tally.rate("renew") / health.rate("health"), "");
    if let Some(cost) = cost {
        cost.report(&mut report, &tally, "renew");
    }
    compare_with_fsync(&mut report, options, &tally, "renew")?;
    Ok(report)
}
