//! Command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, value_parser};

use crate::scenario::memory_limit::broker_beside;

/// Runs agents against a broker over keep-alive HTTP and reports requests per second, p50, p99 and the maximum of each
/// operation, beside `GET /v1/health` of the same run.
///
/// Every run is bounded in count and in time. It registers agents and fills the audit trail: point it at a broker of
/// your own. Exit status 1 means that some response was not the expected one.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
pub(crate) struct Args {
    /// URL of the broker; several, with one store, share the clients
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: Vec<String>,

    /// Admin secret of the broker
    #[arg(long, global = true, env = "AACTL_ADMIN_SECRET", hide_env_values = true, default_value = "")]
    pub(crate) admin_secret: String,

    /// Allow a broker that is not on this machine
    #[arg(long, global = true)]
    pub(crate) allow_remote: bool,

    /// Report in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Duration of the measurements of `GET /v1/health` before and after the operation, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 2, value_parser = value_parser!(u64).range(1..=60))]
    pub(crate) health_time: u64,

    /// Process id of a broker on this machine, for each of them: memory and processor time are reported too
    #[arg(long, global = true, value_name = "PID")]
    pub(crate) broker_pid: Vec<u32>,

    /// Process id of the database server on this machine: its processor time is reported too
    #[arg(long, global = true, value_name = "PID")]
    pub(crate) database_pid: Option<u32>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Full registrations: launch token, challenge, register, each with a new key
    Register(Write),
    /// `POST /v1/token/validate` of cached tokens, then of new ones
    Validate(Validate),
    /// Renewals, each of the previous one's token
    Renew(Write),
    /// `GET /v1/health` alone
    Health(Bounds),
    /// Good requests while other addresses send bad logins, junk and forged tokens; first without them, for comparison
    Flood(Flood),
    /// Registrations with short lifetimes, and the broker's memory over time (needs --broker-pid)
    Memory(Memory),
    /// A broker of its own under a memory limit, and attacks on its memory (needs root: it creates a control group)
    MemoryLimit(MemoryLimit),
    /// Waiting long polls of the revocation feed: memory of each (with --broker-pid), and time until they return
    Feed(Feed),
    /// Reports of many instances of a verifier, without news; with --broker-pid the part of a core that they take
    Reports(Reports),
}

/// Limits of a run, whichever is reached first.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Bounds {
    /// Number of clients, each with a connection of its own
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) clients: u16,

    /// Maximum duration in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) time: u64,

    /// Maximum number of operations
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) count: u64,
}

/// Options of operations that the broker commits.
#[derive(Debug, clap::Args)]
pub(crate) struct Write {
    #[command(flatten)]
    pub(crate) bounds: Bounds,

    /// Also measure fsync of a file in this directory, on the disk of the broker's database
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) fsync: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) bounds: Bounds,

    /// Number of tokens that are validated for the first time
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) tokens: u64,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flood {
    /// Number of good clients
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) clients: u16,

    /// Pause of a good client between its rounds, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(0..=10_000))]
    pub(crate) pause: u64,

    /// Duration of each half, idle and flooded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=600))]
    pub(crate) time: u64,

    /// Number of flooding connections
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,

    /// Number of their loopback addresses (127.0.0.2 and on)
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(1..=16_384))]
    pub(crate) addresses: u16,

    /// Number of further connections that send one byte of a chunked body and then nothing
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(0..=4096))]
    pub(crate) stalled: u16,

    /// Total of bad requests per second, 0 for as many as the broker responds to
    #[arg(long, default_value_t = 2000, value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub(crate) rate: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Memory {
    /// Number of registrations
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) registrations: u64,

    /// Lifetime of their tokens in seconds
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(1..=86_400))]
    pub(crate) ttl: u64,

    /// Number of clients
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) clients: u16,

    /// Number of memory samples
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=1000))]
    pub(crate) samples: u64,

    /// Maximum duration in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(1..=7200))]
    pub(crate) time: u64,

    /// Seconds without load before one more sample: expired entries are removed by then
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=600))]
    pub(crate) settle: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemoryLimit {
    /// Program of the broker
    #[arg(long, value_name = "PATH", default_value_os_t = broker_beside())]
    pub(crate) broker: PathBuf,

    /// Memory limit, as in deploy/compose.yaml, in MiB
    #[arg(long, value_name = "MEBIBYTES", default_value_t = 256, value_parser = value_parser!(u64).range(64..=65_536))]
    pub(crate) limit: u64,

    /// Number of JSON bodies of 1 MiB sent at once
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) bodies: u16,

    /// Number of connections that send heads of 60 kB
    #[arg(long, default_value_t = 8192, value_parser = value_parser!(u16).range(1..=16_384))]
    pub(crate) connections: u16,

    /// Number of snapshots of the feed that are not read
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) snapshots: u16,

    /// Number of entries in the feed
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) entries: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Feed {
    /// Number of concurrent long polls
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u16).range(1..=8000))]
    pub(crate) pollers: u16,

    /// Number of revocations that end them
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Reports {
    /// Number of instances
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=10_000))]
    pub(crate) instances: u64,

    /// Interval at which each reports, in seconds; the broker proposes 100 for 10,000
    #[arg(long, value_name = "SECONDS", default_value_t = 100, value_parser = value_parser!(u64).range(1..=120))]
    pub(crate) interval: u64,

    /// Number of clients, each with a connection of its own
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) clients: u16,

    /// Duration in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) time: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn runs_are_bounded() {
        assert!(Args::try_parse_from(["load", "health", "--time", "100000"]).is_err());
        assert!(Args::try_parse_from(["load", "register", "--count", "0"]).is_err());
        let args = Args::try_parse_from(["load", "health", "--url", "http://127.0.0.1:1"]).unwrap();
        assert_eq!((args.url, args.json, args.allow_remote), (vec!["http://127.0.0.1:1".to_owned()], false, false));
    }
}
