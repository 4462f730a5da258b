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

/// Returns the processor time of a process and of its children, also of those that have ended.
pub(crate) fn family_time(pid: u32) -> Result<Duration, LoadError> {
    let failure = |cause: String| LoadError::Process { pid, cause };
    let own = read(pid, "stat")?;
    let processes = fs::read_dir("/proc").map_err(|error| failure(error.to_string()))?;
    let processes = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A process that ends in the meantime is missed.
    let stats = processes.filter_map(|other: u32| fs::read_to_string(format!("/proc/{other}/stat")).ok());
    family_ticks(pid, &own, stats)
        .map(|ticks| Duration::from_millis(ticks * 10))
        .ok_or_else(|| failure("its stat tells no time".to_owned()))
}

fn family_ticks(pid: u32, own: &str, stats: impl Iterator<Item = String>) -> Option<u64> {
    let children = stats.filter(|stat| parent(stat) == Some(pid)).filter_map(|stat| ticks(&stat));
    Some(ticks(own)? + sum_of_two(own, 13)? + children.sum::<u64>())
}

/// User and system time: fields 14 and 15.
fn ticks(stat: &str) -> Option<u64> {
    sum_of_two(stat, 11)
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

fn sum_of_two(stat: &str, first: usize) -> Option<u64> {
    let mut fields = fields(stat)?.skip(first);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Fields from the third on. The name before them may hold any character, also `)`.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
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
        assert_eq!((ticks("12 (a"), parent(stat)), (None, Some(1)));
    }

    #[test]
    fn family_time_includes_children_that_run_and_that_have_ended() {
        let stat =
            |pid, parent, own: u64, ended: u64| format!("{pid} (p) S {parent} 2 3 4 5 6 7 8 9 10 {own} 0 {ended} 0 20");
        let (own, others) = (stat(12, 1, 5, 100), [stat(13, 12, 1000, 7), stat(14, 12, 20_000, 0), stat(15, 13, 9, 9)]);
        assert_eq!(family_ticks(12, &own, others.into_iter()), Some(21_105));
    }

    #[test]
    fn reads_memory_of_this_process() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.resident > 0 && memory.peak >= memory.resident);
        assert!(Memory::of(u32::MAX).is_err());
    }
}
