//! Broker that this tool starts under a memory limit.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{cgroup::MemoryGroup, process::Memory, scenario::LoadError};

/// Timeout for a start.
const PATIENCE: Duration = Duration::from_secs(30);
/// Admin secret of that broker only.
pub(crate) const ADMIN_SECRET: &str = "a-secret-of-this-run-only";

/// Broker under a memory limit, with its files in a directory of its own.
#[derive(Debug)]
pub(crate) struct LimitedBroker {
    process: Child,
    pub(crate) url: String,
    // Dropped after the process has ended, in this order.
    pub(crate) group: MemoryGroup,
    _directory: TempDir,
}

impl LimitedBroker {
    pub(crate) fn start(program: &Path, limit: u64) -> Result<Self, LoadError> {
        let failed = |cause: String| LoadError::NotStarted { program: program.to_owned(), cause };
        let group = MemoryGroup::new(limit)?;
        let directory =
            tempfile::Builder::new().prefix("agentwrit-load-").tempdir().map_err(|error| failed(error.to_string()))?;
        let log = directory.path().join("log");
        let output = File::create(&log).map_err(|error| failed(error.to_string()))?;
        let errors = output.try_clone().map_err(|error| failed(error.to_string()))?;
        let program = program.canonicalize().map_err(|error| failed(error.to_string()))?;
        // The shell joins the group before it becomes the broker, so that all its memory is counted.
        let process = Command::new("/bin/sh")
            .args(["-c", r#"echo $$ > "$1" && exec "$0""#])
            .args([&program, &group.processes()])
            .env_clear()
            .env("AA_ADMIN_SECRET", ADMIN_SECRET)
            .envs([("AA_PORT", "0"), ("AA_LOG_LEVEL", "standard"), ("AA_SESSION_BUDGET", "off")])
            .env("AA_DB_PATH", directory.path().join("data.db"))
            .env("AA_SIGNING_KEY_PATH", directory.path().join("signing.key"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let mut broker = Self { process, url: String::new(), group, _directory: directory };
        let started = Instant::now();
        while broker.url.is_empty() {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if let Some(address) = said.lines().find_map(listening_address) {
                broker.url = format!("http://{address}");
            } else if started.elapsed() > PATIENCE || !broker.is_alive() {
                return Err(failed(format!("it does not say where it listens:\n{said}")));
            } else {
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(broker)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Returns the peak of resident memory since the last call, where the kernel lets this tool reset it; else since
    /// the start.
    pub(crate) fn take_peak(&self) -> Result<u64, LoadError> {
        let peak = Memory::of(self.pid())?.peak;
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").ok();
        Ok(peak)
    }
}

impl Drop for LimitedBroker {
    fn drop(&mut self) {
        // It may have ended.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// `… | listening | address=127.0.0.1:43210, …`
fn listening_address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("listening")?.1.split_once("address=")?;
    rest.split([',', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_address_from_log() {
        let line = "[AA:BROKER:OK] 2026-11-21T08:00:00Z | BROKER | listening | address=127.0.0.1:4321, issuer=x";
        assert_eq!(listening_address(line), Some("127.0.0.1:4321"));
        assert_eq!(listening_address("[AA:SERVER:OK] … | limits of this machine | memory=256 MiB"), None);
    }
}
