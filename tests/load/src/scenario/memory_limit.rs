//! Memory that hostile clients can make a broker allocate, under the memory limit of its container.
//!
//! Each attack starts after the previous ones have ended; after each the broker must be alive and serve.

use std::{
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, task::spawn_local, time::timeout};

use super::{Context, LoadError};
use crate::{
    agent::{Client, Launch},
    args::{Args, MemoryLimit},
    drive::{Limits, drive},
    hostile,
    http::Request,
    limited::{ADMIN_SECRET, LimitedBroker},
    report::{Report, mebibytes},
    tally::Tally,
};

/// Number of addresses of an attack.
const ADDRESSES: u16 = 64;
/// Timeout for a good registration during and after an attack.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(args: &Args, options: &MemoryLimit) -> Result<Report, LoadError> {
    let broker = LimitedBroker::start(&options.broker, options.limit * 1024 * 1024)?;
    let context = Context::of(std::slice::from_ref(&broker.url), ADMIN_SECRET, args)?;
    let mut trial = Trial { report: context.report("memory-limit"), context, broker, tally: Tally::default() };
    trial.report.figure("memory limit", mebibytes(options.limit * 1024 * 1024), "MiB");

    trial.check("at the start").await?;
    let held = trial.large_bodies(options.bodies).await?;
    trial.check(&format!("{} JSON bodies of 1 MiB at once", options.bodies)).await?;
    drop(held);
    let held = trial.long_heads(options.connections).await?;
    trial.check(&format!("{} connections with heads of 60 kB", options.connections)).await?;
    drop(held);
    trial.fill_the_feed(options.entries).await?;
    trial.check(&format!("{} entries in the feed", options.entries)).await?;
    let held = trial.unread_snapshots(options.snapshots).await?;
    trial.check(&format!("{} unread snapshots", options.snapshots)).await?;
    drop(held);

    trial.report.figure("processes killed for their memory", count(trial.broker.group.kills()), "");
    trial.report.add(&trial.tally, 1, "");
    Ok(trial.report)
}

struct Trial {
    context: Context,
    broker: LimitedBroker,
    report: Report,
    tally: Tally,
}

impl Trial {
    /// Checks that the broker is alive and registers an agent; returns its peak of memory since the last check.
    async fn check(&mut self, when: &str) -> Result<(), LoadError> {
        let mut client = Client::new(&self.context.target, &self.context.operator);
        let started = Instant::now();
        let registration = client.register(Launch { max_ttl: 300, task_id: "task" }, &mut self.tally);
        let served = timeout(PATIENCE, registration).await;
        if self.broker.group.kills() > 0 || !self.broker.is_alive() {
            return Err(LoadError::Died { when: when.to_owned() });
        }
        let unserved = |cause: String| LoadError::Unserved { when: when.to_owned(), cause };
        served.map_err(|_| unserved("no response".to_owned()))?.map_err(|failure| unserved(failure.to_string()))?;
        self.report.figure(format!("{when}: peak resident"), mebibytes(self.broker.take_peak()?), "MiB");
        self.report.figure(format!("{when}: a registration"), started.elapsed().as_secs_f64() * 1000.0, "ms");
        Ok(())
    }

    async fn large_bodies(&self, count: u16) -> Result<Vec<TcpStream>, LoadError> {
        let body = hostile::large_body();
        let (host, length) = (&self.context.target.host, body.len());
        let request = format!(
            "POST /v1/register HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.attack(count, request, async |stream, request| {
            hostile::exchange(stream, request).await;
        })
        .await
    }

    async fn long_heads(&self, count: u16) -> Result<Vec<TcpStream>, LoadError> {
        let path = "x".repeat(60_000);
        let request = format!("GET /{path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.context.target.host);
        self.attack(count, request.repeat(2), async |stream, request| hostile::send_and_leave(stream, request).await)
            .await
    }

    async fn unread_snapshots(&self, count: u16) -> Result<Vec<TcpStream>, LoadError> {
        let request = format!("GET /v1/revocations HTTP/1.1\r\nhost: {}\r\n\r\n", self.context.target.host);
        self.attack(count, request, async |stream, request| {
            hostile::exchange(stream, request).await;
        })
        .await
    }

    /// Opens this many connections from many addresses at once; returns them open.
    async fn attack(
        &self,
        count: u16,
        request: String,
        act: impl AsyncFn(&mut TcpStream, &[u8]) + Copy + 'static,
    ) -> Result<Vec<TcpStream>, LoadError> {
        let (to, request): (_, Rc<[u8]>) = (self.context.target.address, request.into_bytes().into());
        let attacks: Vec<_> = (0..count)
            .map(|index| {
                let request = Rc::clone(&request);
                spawn_local(async move {
                    let mut stream = hostile::connect(to, Some(hostile::address(index % ADDRESSES))).await?;
                    act(&mut stream, &request).await;
                    Ok::<_, std::io::Error>(stream)
                })
            })
            .collect();
        let mut open = Vec::new();
        for attack in attacks {
            match attack.await {
                Ok(Ok(stream)) => open.push(stream),
                // This tool ran out of file descriptors: no result about the broker.
                Ok(Err(error)) if error.raw_os_error() == Some(24) => {
                    return Err(LoadError::Runtime { cause: format!("{error}: raise `ulimit -n`") });
                }
                Ok(Err(_)) => {}
                Err(error) => return Err(LoadError::Runtime { cause: error.to_string() }),
            }
        }
        Ok(open)
    }

    /// Each renewal leaves an entry.
    async fn fill_the_feed(&mut self, entries: u64) -> Result<(), LoadError> {
        let (clients, tokens) = self.context.enrol(self.context.clients(64), 64).await?;
        let holders: Vec<_> = clients.into_iter().zip(tokens).collect();
        let limits = Limits { time: Duration::from_secs(1800), count: entries };
        let (_, tally) = drive(holders, limits, async |(client, token): &mut (Client, String), tally| {
            *token = tally.time("renew", client.renew(token)).await?;
            Ok(())
        })
        .await;
        if tally.failed > 0 {
            return Err(LoadError::NotPrepared { first: tally.first_failure.unwrap_or_default() });
        }
        let request = Request { method: "GET", path: "/v1/revocations", ..Request::default() };
        let snapshot = Client::new(&self.context.target, &self.context.operator).connection.send(request).await?;
        self.report.figure("a snapshot", mebibytes(snapshot.body.len() as u64), "MiB");
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few")]
fn count(number: u64) -> f64 {
    number as f64
}

/// Returns the broker's program beside this tool in the target directory.
pub(crate) fn broker_beside() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("agentwrit-broker")
}
