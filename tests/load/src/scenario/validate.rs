//! `POST /v1/token/validate` of cached tokens, and of tokens that the broker has not seen.

use std::{cell::RefCell, rc::Rc};

use super::{Context, LoadError};
use crate::{agent::Client, args::Validate, drive::drive, report::Report};

pub(crate) async fn run(context: &Context, options: &Validate) -> Result<Report, LoadError> {
    let bounds = options.bounds;
    let (clients, seen) = context.enrol(context.clients(bounds.clients), u64::from(bounds.clients)).await?;
    let (clients, unseen) = context.enrol(clients, options.tokens).await?;
    let (mut clients, mut health) = context.health(clients).await;
    for token in &seen {
        if let Some(client) = clients.first_mut() {
            client.validate(token).await?;
        }
    }

    let holders: Vec<_> = clients.into_iter().zip(seen).collect();
    let (holders, again) = drive(holders, bounds.into(), async |(client, token): &mut (Client, String), tally| {
        tally.time("validate, seen", client.validate(token)).await
    })
    .await;
    let (clients, between) = context.health(holders.into_iter().map(|(client, _)| client).collect()).await;
    health.append(&between);

    let mut limits: crate::drive::Limits = bounds.into();
    limits.count = limits.count.min(unseen.len() as u64);
    let fresh = Rc::new(RefCell::new(unseen));
    let (clients, first) = drive(clients, limits, async move |client: &mut Client, tally| {
        let token = fresh.borrow_mut().pop();
        match token {
            Some(token) => tally.time("validate, unseen", client.validate(&token)).await,
            None => Ok(()),
        }
    })
    .await;
    health.append(&context.health(clients).await.1);

    let mut report = context.report("validate");
    for tally in [&again, &first, &health] {
        report.add(tally, bounds.clients, "");
    }
    report.figure("seen / health", again.rate("validate, seen") / health.rate("health"), "");
    report.figure("unseen / health", first.rate("validate, unseen") / health.rate("health"), "");
    Ok(report)
}
