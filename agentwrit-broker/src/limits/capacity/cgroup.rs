//! The memory limit of this process's control groups.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The lowest limit that is visible, or the machine's memory where that is less; in bytes.
pub(super) fn memory_limit() -> Option<u64> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = directories(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"));
    let limits = groups.iter().filter_map(|(version, directory)| lowest(*version, directory));
    limits.chain(machine_memory(&text("/proc/meminfo"))).min()
}

/// File name of the limit in a hierarchy of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A group's directory and those of its ancestors, up to the root that is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Lineage {
    root: PathBuf,
    group: PathBuf,
}

/// Paths of the memory limits of this process, from `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn directories(mounts: &str, memberships: &str) -> Vec<(Version, Lineage)> {
    let hierarchies = mounts.lines().filter_map(hierarchy);
    let placed = hierarchies.filter_map(|(version, subtree, root)| {
        let group = memberships.lines().find_map(|line| membership(line, version))?;
        // Inside a container the mount may show a subtree only. Without the group in it, its top is all that is visible.
        let below = Path::new(group).strip_prefix(&subtree).unwrap_or(Path::new(""));
        Some((version, Lineage { group: root.join(below), root }))
    });
    placed.collect()
}

/// A mounted hierarchy with memory limits: the subtree that it shows, and where.
fn hierarchy(mount: &str) -> Option<(Version, PathBuf, PathBuf)> {
    // 36 35 98:0 /subtree /mount/point options [tags] - type source super-options
    let (fields, of_type) = mount.split_once(" - ")?;
    let mut fields = fields.split(' ').skip(3);
    let (subtree, root) = (fields.next()?, fields.next()?);
    let mut of_type = of_type.split(' ');
    let version = match (of_type.next()?, of_type.nth(1)?) {
        ("cgroup2", _) => Version::V2,
        ("cgroup", options) if options.split(',').any(|option| option == "memory") => Version::V1,
        _ => return None,
    };
    Some((version, unescape(subtree), unescape(root)))
}

/// The path in a line of `/proc/self/cgroup` (`4:memory:/path`, `0::/path`), if it is of that hierarchy.
fn membership(line: &str, version: Version) -> Option<&str> {
    let mut fields = line.splitn(3, ':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let matches = match version {
        Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
        Version::V2 => number == "0" && controllers.is_empty(),
    };
    matches.then_some(path)
}

/// The kernel writes white space and backslashes in octal.
fn unescape(path: &str) -> PathBuf {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\").into()
}

/// The lowest limit from the group up to the root.
fn lowest(version: Version, lineage: &Lineage) -> Option<u64> {
    let file = match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    let limits = lineage.group.ancestors().take_while(|directory| directory.starts_with(&lineage.root));
    limits.filter_map(|directory| limit(&fs::read_to_string(directory.join(file)).ok()?)).min()
}

/// A number of bytes; `max` is none, and so is the number that version 1 has for it, which no machine has.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn machine_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";

    #[test]
    fn group_is_found_below_the_mount_of_its_hierarchy() {
        for (mounts, memberships, version, group) in [
            (
                V1,
                "9:cpu:/a\n4:memory:/system.slice/broker\n0::/b\n",
                Version::V1,
                "/sys/fs/cgroup/memory/system.slice/broker",
            ),
            ("41 40 0:3 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a/b\n", Version::V2, "/sys/fs/cgroup/a/b"),
            // Docker with control groups of version 1: the mount shows the container's group only.
            (
                "32 30 0:28 /docker/f00 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                "4:memory:/docker/f00\n",
                Version::V1,
                "/sys/fs/cgroup/memory",
            ),
            // A namespace: the group is the root, whatever the mount's subtree is called outside.
            (
                "41 40 0:3 /../x /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n",
                "0::/\n",
                Version::V2,
                "/sys/fs/cgroup",
            ),
            ("41 40 0:3 / /mnt/a\\040b rw - cgroup2 none rw\n", "0::/\n", Version::V2, "/mnt/a b"),
        ] {
            let found = directories(mounts, memberships);
            assert!(
                matches!(found.as_slice(), [(found, lineage)] if *found == version && lineage.group == Path::new(group)),
                "{found:?}"
            );
        }
        assert_eq!(directories(V1, "9:cpu:/a\n0::/\n"), [], "no memory controller");
        assert_eq!(directories("", ""), []);
    }

    #[test]
    fn lowest_limit_of_all_ancestors_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("slice/unit");
        fs::create_dir_all(&group).unwrap();
        let lineage = Lineage { root: root.path().into(), group: group.clone() };
        assert_eq!(lowest(Version::V2, &lineage), None, "no file");
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(lowest(Version::V2, &lineage), None, "no limit");
        fs::write(root.path().join("slice/memory.max"), "268435456\n").unwrap();
        assert_eq!(lowest(Version::V2, &lineage), Some(268_435_456));
        fs::write(group.join("memory.max"), "1048576\n").unwrap();
        assert_eq!(lowest(Version::V2, &lineage), Some(1_048_576));
        fs::write(group.join("memory.limit_in_bytes"), "9223372036854771712\n").unwrap();
        assert_eq!(lowest(Version::V1, &lineage), None, "version 1 writes a number for no limit");
    }

    #[test]
    fn machine_memory_is_in_kibibytes() {
        assert_eq!(machine_memory("MemTotal:       24683520 kB\nMemFree: 1 kB\n"), Some(24_683_520 * 1024));
        assert_eq!(machine_memory(""), None);
    }
}
