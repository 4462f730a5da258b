//! Reports of many instances of one verifier: first reports as fast as brokers accept them, then reports without news at their
//! interval.

use std::{rc::Rc, time::Duration};

use agentwrit_verify::{
    Clock, FeedCursor, SystemClock,
    issue::SigningKey,
    report::{InstanceId, Report as VerifierReport, ReportedBound, VerifierName},
};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{Context, LoadError};
use crate::{
    agent::Client,
    args::Reports,
    drive::{Limits, drive},
    http::{Request, Response},
    report::Report,
    tally::Tally,
};

/// Pause between two first reports: brokers accept 50 new instances of a verifier in a second.
const FIRST_REPORTS: Duration = Duration::from_millis(22);

/// Members of a response of the feed.
#[derive(Clone, Debug, Deserialize)]
struct Feed {
    iss: String,
    epoch: String,
    to: u64,
}

/// Verifier of the run, and the state that its instances report.
#[derive(Debug)]
struct Fleet {
    name: VerifierName,
    key: SigningKey,
    issuer: String,
    applied: FeedCursor,
}

/// Client and the instances that report through it, in turn.
#[derive(Debug)]
struct Reporter {
    client: Client,
    instances: Vec<InstanceId>,
    sent: u64,
    /// Moment of the next report.
    due: Instant,
}

pub(crate) async fn run(context: &Context, options: &Reports) -> Result<Report, LoadError> {
    let mut clients = context.clients(options.clients);
    let fleet = Rc::new(enrol(&mut clients).await?);
    let reporters = with_instances(clients, options.instances)?;
    let limits = Limits { time: Duration::from_secs(300), count: options.instances };
    let reporters = spread(reporters, FIRST_REPORTS * u32::from(options.clients));
    let (reporters, first) =
        report_all(&fleet, reporters, limits, FIRST_REPORTS * u32::from(options.clients), "first report").await;

    let spacing = Duration::from_secs(options.interval) * u32::from(options.clients) / narrow(options.instances);
    let limits = Limits { time: Duration::from_secs(options.time), count: u64::MAX };
    let reporters = spread(reporters, spacing);
    let cost = context.start_cost()?;
    let (reporters, again) = report_all(&fleet, reporters, limits, spacing, "report").await;
    let cost = cost.map(|cost| context.finish_cost(cost)).transpose()?;
    let (_, health) = context.health(reporters.into_iter().map(|reporter| reporter.client).collect()).await;

    let mut report = context.report("reports");
    for tally in [&first, &again, &health] {
        report.add(tally, options.clients, "");
    }
    if let Some(cost) = cost {
        cost.report(&mut report, &again, "report");
        report.figure("the broker's part of a core", cost.share(again.took) * 100.0, "%");
    }
    Ok(report)
}

/// Enrols a verifier with a new key.
async fn enrol(clients: &mut [Client]) -> Result<Fleet, LoadError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| LoadError::Runtime { cause: error.to_string() })?;
    let runtime = |cause: String| LoadError::Runtime { cause };
    let key = SigningKey::from_seed(&seed).map_err(|error| runtime(error.to_string()))?;
    let id: String = key.public_key().id().as_str().chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    let name = VerifierName::parse(&format!("load-{id}")).map_err(|error| runtime(error.to_string()))?;
    let client = clients.first_mut().ok_or_else(|| runtime(String::from("no client")))?;
    client.enrol_verifier(&name, *key.public_key().as_bytes()).await?;
    let request = Request { method: "GET", path: "/v1/revocations", ..Request::default() };
    let feed = feed_of(&client.connection.send(request).await?)?;
    let applied = FeedCursor::new(&feed.epoch, feed.to).map_err(|_| LoadError::BadFeed)?;
    Ok(Fleet { name, key, issuer: feed.iss, applied })
}

/// Reads the payload of a signed response.
fn feed_of(response: &Response) -> Result<Feed, LoadError> {
    let payload = response.body.split(|byte| *byte == b'.').nth(1).ok_or(LoadError::BadFeed)?;
    let payload = BASE64URL_NOPAD.decode(payload).map_err(|_| LoadError::BadFeed)?;
    serde_json::from_slice(&payload).map_err(|_| LoadError::BadFeed)
}

/// Divides the instances among the clients.
fn with_instances(clients: Vec<Client>, count: u64) -> Result<Vec<Reporter>, LoadError> {
    let (each, rest) = (count / clients.len() as u64, count % clients.len() as u64);
    let of_client = |(index, client)| {
        let instances = (0..each + u64::from(index < rest)).map(|_| {
            let mut id = [0; 16];
            getrandom::fill(&mut id).map_err(|error| LoadError::Runtime { cause: error.to_string() })?;
            Ok(InstanceId::from_bytes(id))
        });
        Ok(Reporter { client, instances: instances.collect::<Result<_, LoadError>>()?, sent: 0, due: Instant::now() })
    };
    (0..).zip(clients).map(of_client).collect()
}

/// Makes the clients report one after another.
fn spread(reporters: Vec<Reporter>, spacing: Duration) -> Vec<Reporter> {
    let (start, count) = (Instant::now(), narrow(reporters.len() as u64));
    (0..)
        .zip(reporters)
        .map(|(index, reporter)| Reporter { due: start + spacing * index / count, ..reporter })
        .collect()
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

async fn report_all(
    fleet: &Rc<Fleet>,
    reporters: Vec<Reporter>,
    limits: Limits,
    spacing: Duration,
    operation: &'static str,
) -> (Vec<Reporter>, Tally) {
    let fleet = Rc::clone(fleet);
    drive(reporters, limits, async move |reporter: &mut Reporter, tally| {
        sleep_until(reporter.due).await;
        reporter.due += spacing;
        let text = reporter.next(&fleet)?;
        tally.time(operation, reporter.client.report(&text)).await
    })
    .await
}

impl Reporter {
    /// Signs the report of the next instance.
    fn next(&mut self, fleet: &Fleet) -> Result<String, LoadError> {
        let count = self.instances.len() as u64;
        let index = usize::try_from(self.sent % count.max(1)).unwrap_or_default();
        let no_instance = || LoadError::Runtime { cause: String::from("more clients than instances") };
        let instance = *self.instances.get(index).ok_or_else(no_instance)?;
        let report = VerifierReport {
            verifier: fleet.name.clone(),
            audience: fleet.issuer.clone(),
            issued_at: SystemClock.now(),
            instance,
            sequence: self.sent / count.max(1) + 1,
            applied: fleet.applied.clone(),
            true_at: None,
            bound: ReportedBound::Seconds(30),
            key_set: None,
            drained: None,
            leaving: false,
        };
        self.sent += 1;
        Ok(report.sign(&fleet.key))
    }
}
