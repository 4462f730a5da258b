//! Memory and processor time of a process on Linux.

use std::{fs, time::Duration};

use crate::scenario::LoadError;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident memory.
    pub(crate) resident: u64,
    /// Anonymous part of the resident memory.
    pub(crate) anonymous: u64,
    /// Peak of the resident memory.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self, LoadError> {
        let status = read(pid, "status")?;
        Self::parse(&status).ok_or(LoadError::Process { pid, cause: "its status tells no memory".to_owned() })
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes * 1024)
        };
        Some(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")?, peak: field("VmHWM")? })
    }
}

/// Returns the processor time of a process.
pub(crate) fn processor_time(pid: u32) -> Result<Duration, LoadError> {
    let stat = read(pid, "stat")?;
    ticks(&stat)
        // Linux counts in hundredths of a second on every platform that Rust's standard library supports.
        .map(|ticks| Duration::from_millis(ticks * 10))
        .ok_or(LoadError::Process { pid, cause: "its stat tells no time".to_owned() })
}

/// User and system time: fields 14 and 15. The name before them may hold any character, also `)`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn read(pid: u32, file: &str) -> Result<String, LoadError> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| LoadError::Process { pid, cause: error.to_string() })
}

/// Describes the machine in one line: processors and system.
pub(crate) fn machine() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = text("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{cores} × {model}, Linux {}", text("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_memory_from_status() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t    300 kB\nVmRSS:\t     200 kB\nRssAnon:\t     100 kB\n";
        let expected = Memory { resident: 200 * 1024, anonymous: 100 * 1024, peak: 300 * 1024 };
        assert_eq!(Memory::parse(status), Some(expected));
        assert_eq!(Memory::parse("Name:\tzombie\n"), None);
    }

    #[test]
    fn reads_processor_time_after_any_process_name() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("12 (a"), None);
    }

    #[test]
    fn reads_memory_of_this_process() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        assert!(Memory::of(u32::MAX).is_err());
    }
}
