//! `GET /v1/health` alone.

use super::{Context, LoadError, health_of};
use crate::{args::Bounds, report::Report};

pub(crate) async fn run(context: &Context, bounds: &Bounds) -> Result<Report, LoadError> {
    let (_, tally) = health_of(context.clients(bounds.clients), (*bounds).into()).await;
    let mut report = context.report("health");
    report.add(&tally, bounds.clients, "");
    Ok(report)
}
