//! Control groups with a memory limit, for a process that this tool starts.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
};

use crate::scenario::LoadError;

/// Control group, which is removed when dropped, after its processes have ended.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    directory: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl MemoryGroup {
    /// Creates a group below this process's own (version 1) or the root (version 2, where groups with processes have no
    /// children).
    pub(crate) fn new(bytes: u64) -> Result<Self, LoadError> {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (version, parent) = parent(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"))
            .ok_or_else(|| unavailable(Path::new("/sys/fs/cgroup"), "there is no memory controller"))?;
        let directory = parent.join(format!("agentwrit-load-{}", process::id()));
        fs::create_dir(&directory).map_err(|error| unavailable(&parent, &error.to_string()))?;
        let group = Self { directory, version };
        match version {
            // Without swap: its limit counts memory and swap together, and is not everywhere.
            Version::V1 => {
                group.set("memory.limit_in_bytes", bytes)?;
                group.set("memory.memsw.limit_in_bytes", bytes).ok();
            }
            Version::V2 => {
                group.set("memory.max", bytes)?;
                group.set("memory.swap.max", 0).ok();
            }
        }
        Ok(group)
    }

    /// File to which a process writes its id to join.
    pub(crate) fn processes(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Number of times that a process of the group was killed for its memory.
    pub(crate) fn kills(&self) -> u64 {
        let file = if self.version == Version::V1 { "memory.oom_control" } else { "memory.events" };
        let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    fn set(&self, file: &str, value: u64) -> Result<(), LoadError> {
        fs::write(self.directory.join(file), value.to_string())
            .map_err(|error| unavailable(&self.directory, &format!("{file}: {error}")))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!("load: the control group {} was not removed: {error}", self.directory.display());
        }
    }
}

fn unavailable(directory: &Path, cause: &str) -> LoadError {
    LoadError::NoControlGroup { directory: directory.to_owned(), cause: cause.to_owned() }
}

/// Directory in which a group with a memory limit can be created.
fn parent(mounts: &str, memberships: &str) -> Option<(Version, PathBuf)> {
    let mounted = |wanted: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let (fields, of_type) = line.split_once(" - ")?;
            let mut of_type = of_type.split(' ');
            let matches =
                of_type.next()? == wanted && (option.is_empty() || of_type.nth(1)?.split(',').any(|o| o == option));
            matches.then(|| fields.split(' ').nth(4)).flatten().map(PathBuf::from)
        })
    };
    if let Some(root) = mounted("cgroup", "memory") {
        let own = memberships.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':').filter(|(controllers, _)| controllers.split(',').any(|one| one == "memory"))
        });
        let own = own.map_or(root.clone(), |(_, path)| root.join(path.trim_start_matches('/')));
        return Some((Version::V1, if own.is_dir() { own } else { root }));
    }
    let root = mounted("cgroup2", "")?;
    Some((Version::V2, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_is_that_of_the_memory_controller() {
        let v1 = "31 30 0:27 / /nowhere/cpu rw - cgroup cgroup rw,cpu\n32 30 0:28 / /nowhere/memory rw - cgroup cgroup rw,memory\n\
                  33 30 0:29 / /nowhere/unified rw - cgroup2 none rw\n";
        assert_eq!(parent(v1, "4:memory:/a\n"), Some((Version::V1, "/nowhere/memory".into())));
        let v2 = "33 30 0:29 / /sys/fs/cgroup rw - cgroup2 none rw\n";
        assert_eq!(parent(v2, "0::/a\n"), Some((Version::V2, "/sys/fs/cgroup".into())));
        assert_eq!(parent("", ""), None);
    }
}
