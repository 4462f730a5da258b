//! What hostile clients can make a broker hold, under the memory limit of its container.
//!
//! Each attack is made while the ones before are over; after each the broker must be alive and serve.

use std::{
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, task::spawn_local, time::timeout};

use super::{Context, Failure};
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

/// From how many addresses attacks come.
const ADDRESSES: u16 = 64;
/// How long a good registration may take while, and after, the broker is attacked.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(args: &Args, options: &MemoryLimit) -> Result<Report, Failure> {
    let broker = LimitedBroker::start(&options.broker, options.limit * 1024 * 1024)?;
    let context = Context::of(&broker.url, ADMIN_SECRET, args)?;
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
    /// That the broker is alive and registers an agent; its memory since the last check.
    async fn check(&mut self, when: &str) -> Result<(), Failure> {
        let mut client = Client::new(&self.context.target, &self.context.operator);
        let started = Instant::now();
        let registration = client.register(Launch { max_ttl: 300, task_id: "task" }, &mut self.tally);
        let served = timeout(PATIENCE, registration).await;
        if self.broker.group.kills() > 0 || !self.broker.is_alive() {
            return Err(Failure::Died { when: when.to_owned() });
        }
        let unserved = |cause: String| Failure::Unserved { when: when.to_owned(), cause };
        served.map_err(|_| unserved("no answer".to_owned()))?.map_err(|failure| unserved(failure.to_string()))?;
        self.report.figure(format!("{when}: peak resident"), mebibytes(self.broker.take_peak()?), "MiB");
        self.report.figure(format!("{when}: a registration"), started.elapsed().as_secs_f64() * 1000.0, "ms");
        Ok(())
    }

    async fn large_bodies(&self, count: u16) -> Result<Vec<TcpStream>, Failure> {
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

    async fn long_heads(&self, count: u16) -> Result<Vec<TcpStream>, Failure> {
        let path = "x".repeat(60_000);
        let request = format!("GET /{path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.context.target.host);
        self.attack(count, request.repeat(2), async |stream, request| hostile::send_and_leave(stream, request).await)
            .await
    }

    async fn unread_snapshots(&self, count: u16) -> Result<Vec<TcpStream>, Failure> {
        let request = format!("GET /v1/revocations HTTP/1.1\r\nhost: {}\r\n\r\n", self.context.target.host);
        self.attack(count, request, async |stream, request| {
            hostile::exchange(stream, request).await;
        })
        .await
    }

    /// Makes so many connections from many addresses, all at once; gives them back, still open.
    async fn attack(
        &self,
        count: u16,
        request: String,
        act: impl AsyncFn(&mut TcpStream, &[u8]) + Copy + 'static,
    ) -> Result<Vec<TcpStream>, Failure> {
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
                // This tool ran out of files: that proves nothing about the broker.
                Ok(Err(error)) if error.raw_os_error() == Some(24) => {
                    return Err(Failure::Runtime { cause: format!("{error}: raise `ulimit -n`") });
                }
                Ok(Err(_)) => {}
                Err(error) => return Err(Failure::Runtime { cause: error.to_string() }),
            }
        }
        Ok(open)
    }

    /// Each renewal leaves an entry.
    async fn fill_the_feed(&mut self, entries: u64) -> Result<(), Failure> {
        let (clients, tokens) = self.context.enrol(self.context.clients(64), 64).await?;
        let holders: Vec<_> = clients.into_iter().zip(tokens).collect();
        let limits = Limits { time: Duration::from_secs(1800), count: entries };
        let (_, tally) = drive(holders, limits, async |(client, token): &mut (Client, String), tally| {
            *token = tally.time("renew", client.renew(token)).await?;
            Ok(())
        })
        .await;
        if tally.failed > 0 {
            return Err(Failure::NotPrepared { first: tally.first_failure.unwrap_or_default() });
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

/// The broker that is beside this tool in the target directory.
pub(crate) fn broker_beside() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.with_file_name("agentwrit-broker")
}
