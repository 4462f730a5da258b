//! Scenarios, and their shared parts.

mod cost;
pub(crate) mod feed;
pub(crate) mod flood;
pub(crate) mod health;
pub(crate) mod memory;
pub(crate) mod memory_limit;
pub(crate) mod register;
pub(crate) mod renew;
pub(crate) mod reports;
pub(crate) mod validate;

use std::{path::PathBuf, rc::Rc, time::Duration};

use crate::{
    agent::{Client, Launch, Operator},
    args::{Args, Write},
    drive::{Limits, drive},
    http::Response,
    report::{Report, milliseconds},
    tally::Tally,
    target::{Target, TargetError},
    yardstick::{fsync, median},
};

/// Context of every scenario.
#[derive(Debug)]
pub(crate) struct Context {
    /// The first broker.
    pub(crate) target: Target,
    others: Vec<Target>,
    pub(crate) operator: Rc<Operator>,
    broker_pids: Vec<u32>,
    database_pid: Option<u32>,
    health_time: Duration,
}

/// Error of a run or of one of its requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{path}: {cause}")]
    Broken { path: String, cause: String },
    #[error("{path}: unexpected response {status}: {beginning}")]
    Unexpected { path: String, status: u16, beginning: String },
    #[error("the broker takes a token that it issued for invalid")]
    Invalid,
    #[error("a revocation of live tokens killed none")]
    NothingRevoked,
    #[error("the feed's response is not a signed document with a cursor")]
    BadFeed,
    #[error("not enough registrations succeeded: {first}")]
    NotPrepared { first: String },
    #[error("process {pid}: {cause}")]
    Process { pid: u32, cause: String },
    #[error("give the broker's URL with --url")]
    NoUrl,
    #[error("memory needs --broker-pid, the broker's process on this machine")]
    NoPid,
    #[error(
        "no control group with a memory limit can be made in {}: {cause}; run this as root on Linux, with the memory \
         controller mounted and writable", directory.display()
    )]
    NoControlGroup { directory: PathBuf, cause: String },
    #[error("`{}` did not start: {cause}", program.display())]
    NotStarted { program: PathBuf, cause: String },
    #[error("{when}: the broker is dead")]
    Died { when: String },
    #[error("{when}: the broker does not serve a good client: {cause}")]
    Unserved { when: String, cause: String },
    #[error("{cause}")]
    Runtime { cause: String },
}

impl LoadError {
    pub(crate) fn unexpected(path: &str, response: &Response) -> Self {
        let beginning = String::from_utf8_lossy(&response.body).chars().take(300).collect();
        Self::Unexpected { path: path.to_owned(), status: response.status, beginning }
    }
}

impl Context {
    pub(crate) fn new(args: &Args) -> Result<Self, LoadError> {
        Self::of(&args.url, &args.admin_secret, args)
    }

    /// Returns a context for other brokers than the command line's.
    pub(crate) fn of(urls: &[String], admin_secret: &str, args: &Args) -> Result<Self, LoadError> {
        let parse = |url: &String| Target::parse(url, args.allow_remote);
        let (first, others) = urls.split_first().ok_or(LoadError::NoUrl)?;
        let (target, others) = (parse(first)?, others.iter().map(parse).collect::<Result<_, _>>()?);
        let operator = Rc::new(Operator::new(&target, admin_secret));
        let health_time = Duration::from_secs(args.health_time);
        let (broker_pids, database_pid) = (args.broker_pid.clone(), args.database_pid);
        Ok(Self { target, others, operator, broker_pids, database_pid, health_time })
    }

    /// Returns the process of the first broker, if it is known.
    pub(crate) fn broker_pid(&self) -> Option<u32> {
        self.broker_pids.first().copied()
    }

    pub(crate) fn report(&self, scenario: &'static str) -> Report {
        let brokers: Vec<String> = self.targets().map(ToString::to_string).collect();
        Report::new(scenario, brokers.join(", "))
    }

    pub(crate) fn clients(&self, count: u16) -> Vec<Client> {
        self.targets().cycle().take(count.into()).map(|target| Client::new(target, &self.operator)).collect()
    }

    fn targets(&self) -> impl Iterator<Item = &Target> + Clone {
        std::iter::once(&self.target).chain(&self.others)
    }

    /// Measures `GET /v1/health`, the reference of all figures.
    pub(crate) async fn health(&self, clients: Vec<Client>) -> (Vec<Client>, Tally) {
        health_of(clients, Limits { time: self.health_time, count: u64::MAX }).await
    }

    /// Registers agents for an hour; returns their tokens.
    pub(crate) async fn enrol(
        &self,
        clients: Vec<Client>,
        count: u64,
    ) -> Result<(Vec<Client>, Vec<String>), LoadError> {
        let enrolling: Vec<_> = clients.into_iter().map(|client| (client, Vec::new())).collect();
        let limits = Limits { time: Duration::from_secs(600), count };
        let (enrolled, tally) =
            drive(enrolling, limits, async |(client, tokens): &mut (Client, Vec<String>), tally| {
                let agent = client.register(Launch { max_ttl: 3600, task_id: "task" }, tally).await?;
                tokens.push(agent.access_token);
                Ok(())
            })
            .await;
        let (clients, tokens): (Vec<_>, Vec<_>) = enrolled.into_iter().unzip();
        let tokens = tokens.concat();
        if tally.failed > 0 || tokens.is_empty() {
            return Err(LoadError::NotPrepared { first: tally.first_failure.unwrap_or_default() });
        }
        Ok((clients, tokens))
    }
}

/// Reports the time of an operation as a multiple of one fsync on the disk of the broker's database, if a directory there is
/// given.
fn compare_with_fsync(report: &mut Report, options: &Write, tally: &Tally, operation: &str) -> Result<(), LoadError> {
    let Some(directory) = &options.fsync else { return Ok(()) };
    let fsync = fsync(directory)?;
    report.add(&fsync, 1, "");
    let each = milliseconds(median(&fsync, "fsync"));
    report.figure(format!("{operation} / fsync, medians"), milliseconds(median(tally, operation)) / each, "");
    report.figure(format!("{operation}s per fsync"), tally.rate(operation) * each / 1000.0, "");
    Ok(())
}

async fn health_of(clients: Vec<Client>, limits: Limits) -> (Vec<Client>, Tally) {
    drive(clients, limits, async |client: &mut Client, tally| tally.time("health", client.health()).await).await
}
