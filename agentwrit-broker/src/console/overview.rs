//! `/console`: the state of the broker at a glance.

use std::{
    collections::VecDeque,
    fmt::Write,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use agentwrit_protocol::EventType;
use agentwrit_verify::UnixTime;
use askama::Template;
use axum::{extract::State, response::Response};

use super::{
    Console,
    counts::Counts,
    error::ConsoleError,
    format::{Time, duration, number},
    frame::Frame,
    page::{Operator, render},
};
use crate::{
    clock::ClockWarning,
    service::{Error, Services},
};

/// Number of samples that the chart shows.
const SAMPLES: usize = 60;
/// Least time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Least number of rejections that fills a bar: one typing error does not look like an attack.
const FULL_BAR: u64 = 20;
/// Height of the chart, in units of its drawing.
const HEIGHT: u64 = 60;

/// Numbers of requests and of live agents, sampled when the page is shown and at no other time.
#[derive(Debug, Default)]
pub(super) struct Activity(Mutex<VecDeque<Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    requests: u64,
    agents: u64,
}

impl Activity {
    /// Takes a sample. Returns the requests per second between samples and the agents at their ends, oldest first.
    fn sample(&self, sample: Sample) -> (Vec<u64>, Vec<u64>) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = samples.back().is_none_or(|last| sample.at.saturating_duration_since(last.at) >= SAMPLE_INTERVAL);
        if is_due {
            samples.push_back(sample);
        }
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
        let rate = |(before, after): (&Sample, &Sample)| {
            let passed = after.at.saturating_duration_since(before.at).as_millis();
            let requests = after.requests.saturating_sub(before.requests).saturating_mul(1000);
            requests.checked_div(u64::try_from(passed).unwrap_or(u64::MAX)).unwrap_or(0)
        };
        let rates = samples.iter().zip(samples.iter().skip(1)).map(rate).collect();
        (rates, samples.iter().skip(1).map(|sample| sample.agents).collect())
    }
}

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
    version: &'static str,
    issuer: String,
    uptime: String,
    store: &'static str,
    warnings: Vec<&'static str>,
    figures: Vec<Figure>,
    requests: Chart,
    agents: Chart,
    rejections: Vec<Bar>,
    verifiers: Vec<VerifierRow>,
    followers: usize,
    cursor: String,
    keys: Vec<KeyRow>,
}

/// A number with a name, which leads to a page.
struct Figure {
    name: &'static str,
    value: String,
    path: &'static str,
}

/// A number over time.
struct Chart {
    latest: String,
    most: String,
    /// Points of a line, in units of the drawing.
    points: String,
}

impl Chart {
    fn of(numbers: &[u64]) -> Self {
        let most = numbers.iter().copied().max().unwrap_or(0);
        let mut points = String::new();
        // A line has two ends.
        let first = numbers.first().filter(|_| numbers.len() == 1);
        for (column, shown) in (0_usize..).zip(numbers.iter().chain(first)) {
            let height = shown.saturating_mul(HEIGHT).checked_div(most).unwrap_or(0);
            let (x, y) = (column.saturating_mul(4), HEIGHT.saturating_sub(height).saturating_add(2));
            // Writing to a `String` cannot fail.
            write!(points, "{x},{y} ").unwrap_or_default();
        }
        let latest = numbers.last().copied().unwrap_or(0);
        Self { latest: number(latest), most: number(most), points: points.trim_end().to_owned() }
    }
}

/// Rejections of a kind.
struct Bar {
    event_type: &'static str,
    count: String,
    /// Percentage of the most frequent kind, or of [`FULL_BAR`] if that is more.
    width: u64,
}

struct VerifierRow {
    name: String,
    instances: usize,
    /// Entries of the log that its slowest instance has not applied; none for another log.
    behind: Option<u64>,
    /// Percentage of the largest such number.
    width: u64,
    heard: Option<Time>,
}

struct KeyRow {
    kid: String,
    state: &'static str,
    since: Time,
}

impl Counts {
    fn figures(&self) -> Vec<Figure> {
        let figure = |name, value, path| Figure { name, value: number(value), path };
        vec![
            figure("live agents", self.agents, "/console/agents"),
            figure("live tokens", self.tokens, "/console/agents"),
            figure("active apps", self.apps, "/console/apps"),
            figure("suspended apps", self.suspended_apps, "/console/apps"),
            figure("launch tokens", self.launch_tokens, "/console/launch-tokens"),
            figure("audit events", self.events, "/console/audit"),
        ]
    }

    fn bars(&self) -> Vec<Bar> {
        let most = self.rejections.first().map_or(0, |(_, count)| *count).max(FULL_BAR);
        let bar = |(event_type, count): &(EventType, u64)| Bar {
            event_type: event_type.as_str(),
            count: number(*count),
            width: count.saturating_mul(100).checked_div(most).unwrap_or(0).max(1),
        };
        self.rejections.iter().map(bar).collect()
    }
}

pub(super) async fn page(State(console): State<Console>, operator: Operator) -> Result<Response, ConsoleError> {
    let services = &console.services;
    let (now, counts) = (services.ledger.now(), console.counter.count(services).await?);
    let (requests, at) = (services.metrics.requests(), services.ledger.monotonic());
    let (rates, agents) = console.activity.sample(Sample { at, requests, agents: counts.agents });
    let clock_warnings = services.ledger.clock_monitor.warnings(services.ledger.clock.as_ref());
    let end = services.feed.end();
    render(&OverviewPage {
        frame: operator.frame("Overview"),
        version: env!("CARGO_PKG_VERSION"),
        issuer: services.issuer.name().to_owned(),
        uptime: duration(services.uptime()),
        store: if services.ledger.store.is_shared() { "PostgreSQL" } else { "SQLite" },
        warnings: clock_warnings.into_iter().map(ClockWarning::as_str).chain(services.keys.warnings()).collect(),
        figures: counts.figures(),
        requests: Chart::of(&rates),
        agents: Chart::of(&agents),
        rejections: counts.bars(),
        verifiers: verifiers(services, now).await?,
        followers: services.feed.followers(),
        cursor: format!("{}.{}", end.epoch, end.cursor),
        keys: keys(services, now).await?,
    })
}

async fn verifiers(services: &Services, now: UnixTime) -> Result<Vec<VerifierRow>, Error> {
    let end = services.feed.end();
    let known = services.verifiers.list().await?;
    let enrolled = known.iter().filter(|verifier| verifier.enrolment.removed_at.is_none());
    let row = |verifier: &crate::service::verifiers::KnownVerifier| {
        let of_log = verifier.instances.iter().filter(|state| *state.applied.epoch() == *end.epoch && !state.is_ahead);
        VerifierRow {
            name: verifier.enrolment.name.to_string(),
            instances: verifier.instances.len(),
            width: 0,
            behind: of_log.map(|state| end.cursor.saturating_sub(state.applied.position())).max(),
            heard: verifier.instances.iter().map(|state| state.heard_at).max().map(|at| Time::new(at, now)),
        }
    };
    let mut rows: Vec<VerifierRow> = enrolled.map(row).collect();
    let most = rows.iter().filter_map(|row| row.behind).max().unwrap_or(0);
    for row in &mut rows {
        row.width = row.behind.unwrap_or(0).saturating_mul(100).checked_div(most).unwrap_or(0);
    }
    Ok(rows)
}

async fn keys(services: &Services, now: UnixTime) -> Result<Vec<KeyRow>, Error> {
    let keys = services.keys.list().await?.keys;
    let published = keys.iter().filter(|key| key.state.is_published());
    Ok(published
        .map(|key| KeyRow {
            kid: key.kid.clone(),
            state: key.state.as_str(),
            since: Time::new(key.activated_at.unwrap_or(key.created_at), now),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_rates_at_most_once_a_second() {
        let (activity, start) = (Activity::default(), Instant::now());
        let sample = |requests, milliseconds| {
            let at = start + Duration::from_millis(milliseconds);
            activity.sample(Sample { at, requests, agents: requests + 1 })
        };
        assert_eq!(sample(10, 0), (vec![], vec![]));
        assert_eq!(sample(15, 500), (vec![], vec![]));
        assert_eq!(sample(30, 2000), (vec![10], vec![31]));
        for second in 3..100 {
            sample(30, second * 1000);
        }
        let (rates, agents) = sample(30, 100_000);
        assert_eq!((rates.len(), agents.len()), (SAMPLES - 1, SAMPLES - 1));
    }

    #[test]
    fn draws_rates_to_scale() {
        let chart = Chart::of(&[0, 5, 10]);
        assert_eq!((chart.latest.as_str(), chart.most.as_str(), chart.points.as_str()), ("10", "10", "0,62 4,32 8,2"));
        assert_eq!(Chart::of(&[]).points, "");
        assert_eq!(Chart::of(&[7]).points, "0,2 4,2");
    }
}
