//! `GET /v1/health` alone.

use super::{Context, LoadError, health_of};
use crate::{args::Bounds, report::Report};

pub(crate) async fn run(context: &Context, bounds: &Bounds) -> Result<Report, LoadError> {
    let cost = context.start_cost()?;
    let (_, tally) = health_of(context.clients(bounds.clients), (*bounds).into()).await;
    let cost = cost.map(|cost| context.finish_cost(cost)).transpose()?;
    let mut report = context.report("health");
    report.add(&tally, bounds.clients, "");
    if let Some(cost) = cost {
        cost.report(&mut report, &tally, "health");
    }
    Ok(report)
}
