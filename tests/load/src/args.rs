//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, value_parser};

use crate::scenario::memory_limit::broker_beside;

/// Plays real agents against a broker over keep-alive HTTP and reports requests per second, p50, p99 and the longest of
/// each operation, beside `GET /v1/health` of the same run.
///
/// Every run is bounded in count and in time. It registers agents and fills the audit trail: point it at a broker of
/// your own. Exit status 1 means that some request was not answered as it should.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
pub(crate) struct Args {
    /// The broker
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,

    /// Its admin secret
    #[arg(long, global = true, env = "AACTL_ADMIN_SECRET", hide_env_values = true, default_value = "")]
    pub(crate) admin_secret: String,

    /// Also drive a broker that is not on this machine
    #[arg(long, global = true)]
    pub(crate) allow_remote: bool,

    /// Report in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// How long `GET /v1/health` is measured before, and again after, the operation, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 2, value_parser = value_parser!(u64).range(1..=60))]
    pub(crate) health_time: u64,

    /// The broker's process on this machine: its memory and processor time are reported too
    #[arg(long, global = true, value_name = "PID")]
    pub(crate) broker_pid: Option<u32>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Full registrations: launch token, challenge, register, each with a new key
    Register(Register),
    /// `POST /v1/token/validate` of tokens seen before, then of tokens never seen before
    Validate(Validate),
    /// Renewals, each of the token that the last one gave
    Renew(Bounds),
    /// `GET /v1/health` alone
    Health(Bounds),
    /// Good requests while other addresses send bad logins, junk and forged tokens; first without them, to compare
    Flood(Flood),
    /// Registrations with short lifetimes, and what the broker's memory does (needs --broker-pid)
    Memory(Memory),
    /// A broker of its own under a memory limit, and attacks on its memory (needs root: it makes a control group)
    MemoryLimit(MemoryLimit),
    /// Waiting long polls of the revocation feed: memory each (with --broker-pid), and how soon they wake
    Feed(Feed),
}

/// What ends a run, whichever comes first.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Bounds {
    /// How many clients, each with a connection of its own
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) clients: u16,

    /// At most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) time: u64,

    /// At most so many operations
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) count: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Register {
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

    /// How many tokens are registered to be validated for the first time
    #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) tokens: u64,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flood {
    /// How many good clients
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) clients: u16,

    /// How long a good client rests between its rounds, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20, value_parser = value_parser!(u64).range(0..=10_000))]
    pub(crate) pause: u64,

    /// How long each half takes, idle and flooded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(1..=600))]
    pub(crate) time: u64,

    /// How many connections flood
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,

    /// From how many loopback addresses (127.0.0.2 and on)
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(1..=16_384))]
    pub(crate) addresses: u16,

    /// How many more connections send one byte of a chunked body and then nothing
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(0..=4096))]
    pub(crate) stalled: u16,

    /// Bad requests per second in all, 0 for as many as are answered
    #[arg(long, default_value_t = 2000, value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub(crate) rate: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Memory {
    /// How many agents register
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub(crate) registrations: u64,

    /// Lifetime of their tokens in seconds
    #[arg(long, default_value_t = 30, value_parser = value_parser!(u64).range(1..=86_400))]
    pub(crate) ttl: u64,

    /// How many clients
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) clients: u16,

    /// How often memory is looked at
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=1000))]
    pub(crate) samples: u64,

    /// At most so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u64).range(1..=7200))]
    pub(crate) time: u64,

    /// Look once more after so many seconds without load: what expired is forgotten by then
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=600))]
    pub(crate) settle: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MemoryLimit {
    /// The broker's program
    #[arg(long, value_name = "PATH", default_value_os_t = broker_beside())]
    pub(crate) broker: PathBuf,

    /// The memory limit, as in deploy/compose.yaml, in MiB
    #[arg(long, value_name = "MEBIBYTES", default_value_t = 256, value_parser = value_parser!(u64).range(64..=65_536))]
    pub(crate) limit: u64,

    /// How many JSON bodies of 1 MiB are sent at once
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u16).range(1..=1024))]
    pub(crate) bodies: u16,

    /// How many connections send heads of 60 kB
    #[arg(long, default_value_t = 8192, value_parser = value_parser!(u16).range(1..=16_384))]
    pub(crate) connections: u16,

    /// How many snapshots of the feed are not read
    #[arg(long, default_value_t = 150, value_parser = value_parser!(u16).range(1..=4096))]
    pub(crate) snapshots: u16,

    /// How many entries the feed has by then
    #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) entries: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Feed {
    /// How many long polls wait at once
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u16).range(1..=8000))]
    pub(crate) pollers: u16,

    /// How many revocations wake them
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn runs_are_bounded() {
        assert!(Args::try_parse_from(["load", "health", "--time", "100000"]).is_err());
        assert!(Args::try_parse_from(["load", "register", "--count", "0"]).is_err());
        let args = Args::try_parse_from(["load", "health", "--url", "http://127.0.0.1:1"]).unwrap();
        assert_eq!((args.url.as_str(), args.json, args.allow_remote), ("http://127.0.0.1:1", false, false));
    }
}
