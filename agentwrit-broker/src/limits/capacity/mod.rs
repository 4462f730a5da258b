//! Memory and open files that the broker may use, and the bounds that follow from them.
//!
//! 1. Memory is the lowest limit of the process's control groups and their ancestors, as far as they are visible (version 2:
//!    `memory.max`, version 1: `memory.limit_in_bytes`), or the machine's memory where that is less.
//! 2. Of it, [`BASE`] is the process itself. Half of the rest is for connections, an eighth for large request bodies, an
//!    eighth for large responses. What remains is room for what is computed and for the allocator.
//! 3. A connection can cost [`PER_CONNECTION`], with TLS [`PER_TLS_CONNECTION`]: that makes the number of connections.
//!
//! Largest cost of a connection, in KiB: socket buffers of the kernel 96 ([`SEND_BUFFER`] and [`RECEIVE_BUFFER`],
//! which Linux doubles for its own bookkeeping), request head 16, response under way 32 (or a request body that needs no
//! place, 16), task, timers and the request's parts 16. TLS adds 48: its record buffers and state. An idle connection costs
//! about a tenth of that.

use std::fs;

use self::cgroup::memory_limit;

mod cgroup;

/// Largest number of connections, independent of memory.
const MOST_CONNECTIONS: usize = 8192;
/// Files that are not connections: database, log, certificates, the health socket.
const OTHER_FILES: usize = 64;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Memory of the process without clients: code, SQLite's caches, the revocation list, rate limits.
const BASE: u64 = 48 * MIB;
/// Largest memory of a connection.
const PER_CONNECTION: u64 = 160 * KIB;
/// Largest memory of a connection with TLS.
const PER_TLS_CONNECTION: u64 = 208 * KIB;
/// The largest request body.
const LARGEST_BODY: u64 = MIB;

/// Send buffer of a connection, in bytes: the kernel holds so much for a client that reads nothing.
pub(crate) const SEND_BUFFER: u32 = 32 * 1024;
/// Receive buffer of a connection, in bytes.
pub(crate) const RECEIVE_BUFFER: u32 = 16 * 1024;

/// Bounds that follow from the resources of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Available memory in bytes, where that is known.
    pub(crate) memory: Option<u64>,
    /// Largest number of connections.
    pub(crate) connections: usize,
    /// Largest number of large request bodies read at once.
    pub(crate) large_bodies: usize,
    /// Largest size of the large responses held at once, in bytes.
    pub(crate) large_responses: usize,
}

impl Capacity {
    /// The capacity of this process.
    pub(crate) fn of_this_process(tls: bool) -> Self {
        Self::of(memory_limit(), open_files(), tls)
    }

    fn of(memory: Option<u64>, files: Option<usize>, tls: bool) -> Self {
        let per_connection = if tls { PER_TLS_CONNECTION } else { PER_CONNECTION };
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let shared = memory.map(|memory| memory.saturating_sub(BASE));
        let by_memory = shared.map_or(MOST_CONNECTIONS, |shared| size(shared / 2 / per_connection));
        let by_files = files.map_or(MOST_CONNECTIONS, |files| files.saturating_sub(OTHER_FILES));
        let eighth = shared.map_or(u64::MAX, |shared| shared / 8);
        Self {
            memory,
            connections: by_memory.min(by_files).clamp(4, MOST_CONNECTIONS),
            large_bodies: size(eighth / LARGEST_BODY).clamp(4, 64),
            large_responses: size(eighth.clamp(4 * MIB, 64 * MIB)),
        }
    }
}

/// Soft limit of open files, where the system reports it.
fn open_files() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_connections_follows_from_memory_and_open_files() {
        let connections = |memory: Option<u64>, files, tls| Capacity::of(memory, files, tls).connections;
        for (memory, files, tls, expected) in [
            (None, None, false, 8192),
            (None, Some(1024), false, 960),
            (None, Some(0), false, 4),
            (Some(256 * MIB), Some(16_384), false, 665),
            (Some(256 * MIB), Some(16_384), true, 512),
            (Some(512 * MIB), Some(16_384), false, 1484),
            (Some(4096 * MIB), Some(16_384), false, 8192),
            (Some(4096 * MIB), Some(1024), false, 960),
            (Some(MIB), None, false, 4),
        ] {
            assert_eq!(connections(memory, files, tls), expected, "{memory:?} {files:?} {tls}");
        }
    }

    #[test]
    fn parts_of_the_memory_leave_room_under_the_shipped_limits() {
        for mebibytes in [256, 512, 1024] {
            let memory = mebibytes * MIB;
            let capacity = Capacity::of(Some(memory), None, false);
            let connections = capacity.connections as u64 * PER_CONNECTION;
            let bodies = capacity.large_bodies as u64 * LARGEST_BODY;
            let planned = BASE + connections + bodies + capacity.large_responses as u64;
            assert!(planned <= memory * 85 / 100, "{planned} of {memory}");
        }
    }

    #[test]
    fn large_bodies_and_responses_have_a_floor_and_a_ceiling() {
        let none = Capacity::of(None, None, false);
        assert_eq!((none.large_bodies, none.large_responses as u64), (64, 64 * MIB));
        let tiny = Capacity::of(Some(16 * MIB), None, false);
        assert_eq!((tiny.large_bodies, tiny.large_responses as u64), (4, 4 * MIB));
    }
}
