//! The file in which a broker keeps the last commit that it saw, and the keys that it knows as withdrawn.
//!
//! 1. It is replaced as a whole, by a thread of its own: at once for a withdrawal, otherwise at most once a second, and at the
//!    stop.
//! 2. The broker goes on without a file that cannot be written, or whose disk does not respond: it waits for two seconds at
//!    most, and not at all behind a write that has taken longer. It then notices a lost history only until it restarts, so that
//!    the log, `warnings` of `/v1/health` and the response to a withdrawal tell.
//! 3. Only the latest contents wait to be written.
//! 4. `<path>.lock` is locked until the stop: two brokers would replace each other's last commit.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use serde::{Deserialize, Serialize};

use super::{
    remembered::{Remembered, Seen},
    state_writes::StateWrites,
};
use crate::{
    audit::{ChainHead, EventHash},
    store::{
        LockedFile, OpenError, canonical,
        codec::{from_micros, micros},
    },
};

/// Cause and remedy when another broker has locked the file.
const IN_USE: &str = "it is in use by another broker: stop that one first, or set AA_STATE_PATH to another file";
/// Largest size of a file that is read.
const MAX_SIZE: u64 = 1 << 20;

/// The state file of a running broker.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    writes: Arc<StateWrites>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Contents of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    database: String,
    epoch: String,
    event: u64,
    /// Hexadecimal.
    hash: String,
    /// Microseconds since the epoch.
    at: i64,
    #[serde(default)]
    withdrawn_keys: BTreeSet<String>,
}

impl StateFile {
    /// Locks the file for this broker, reads it, if it exists, and starts the thread that writes it.
    pub(super) fn open(path: &Path) -> Result<(Option<Remembered>, Self), OpenError> {
        let own = canonical(path).map_err(|error| OpenError::io(path, &error))?;
        let lock = LockedFile::beside(&own).map_err(|error| {
            let in_use = || OpenError::StateFile { path: path.to_owned(), cause: IN_USE.to_owned() };
            if matches!(error, OpenError::InUse { .. }) { in_use() } else { error }
        })?;
        let remembered = read(path)?;
        let writes = Arc::new(StateWrites::default());
        let of_thread = Arc::clone(&writes);
        let run = move || {
            // Until after the last write.
            let _lock = lock;
            of_thread.run(&own, |remembered| write(&own, remembered));
        };
        let thread = thread::Builder::new().name("agentwrit-state".to_owned()).spawn(run);
        let thread = thread.map_err(|error| OpenError::io(path, &error))?;
        Ok((remembered, Self { path: path.to_owned(), writes, thread: Mutex::new(Some(thread)) }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file written within a second.
    pub(super) fn save(&self, remembered: Remembered) {
        self.writes.request(remembered, false);
    }

    /// Has the file written without delay.
    pub(super) fn save_at_once(&self, remembered: Remembered) {
        self.writes.request(remembered, true);
    }

    /// Has the file written, and waits until it is, or cannot be in time. Blocks the thread.
    pub(super) fn save_and_wait(&self, remembered: Remembered) {
        let number = self.writes.request(remembered, true);
        self.writes.wait(number, &self.path);
    }

    /// Returns true if the file could not be written, or takes long.
    pub(super) fn is_behind(&self) -> bool {
        self.writes.is_behind()
    }

    /// Has the file written, and waits until it is, or cannot be in time.
    pub(super) fn close(&self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if !self.writes.close() {
            // The thread ends with the process, and so does the lock.
            let path = self.path.display();
            tracing::error!(component = "store", %path, "the state file was not written before the stop: its disk does not respond");
        } else if thread.join().is_err() {
            tracing::error!(component = "store", "the thread that writes the state file panicked");
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        self.close();
    }
}

fn read(path: &Path) -> Result<Option<Remembered>, OpenError> {
    let corrupt = |cause: &dyn std::fmt::Display| {
        let remedy = "restore it, or delete it if no commit can have been lost since the broker stopped";
        OpenError::StateFile { path: path.to_owned(), cause: format!("{cause}: {remedy}") }
    };
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io(path, &error)),
        Ok(found) if found.len() > MAX_SIZE => return Err(corrupt(&"it is too large for a state file")),
        Ok(_) => fs::read(path).map_err(|error| OpenError::io(path, &error))?,
    };
    let Contents { version, database, epoch, event, hash, at, withdrawn_keys } =
        serde_json::from_slice(&text).map_err(|error| corrupt(&format_args!("it is not a state file ({error})")))?;
    if version != 1 {
        return Err(corrupt(&format_args!("it has version {version}, this broker knows version 1")));
    }
    let hash = EventHash::parse(&hash).ok_or_else(|| corrupt(&"its hash is malformed"))?;
    let event = ChainHead { sequence: event, hash };
    let seen = Seen { identity: database, epoch, event, at: from_micros(at) };
    Ok(Some(Remembered { seen, withdrawn_keys: Arc::new(withdrawn_keys) }))
}

fn write(path: &Path, remembered: &Remembered) -> io::Result<()> {
    let Remembered { seen: Seen { identity, epoch, event, at }, withdrawn_keys } = remembered.clone();
    let contents = Contents {
        version: 1,
        database: identity,
        epoch,
        event: event.sequence,
        hash: event.hash.to_string(),
        at: micros(at),
        withdrawn_keys: withdrawn_keys.as_ref().clone(),
    };
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let aside = directory.join(format!(".{}.new", name.to_string_lossy()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(&contents)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Instant};

    use agentwrit_verify::UnixTime;
    use tempfile::TempDir;

    use super::{super::state_writes::PATIENCE, *};

    fn seen(sequence: u64) -> Remembered {
        let event = ChainHead { sequence, hash: EventHash::from_bytes([7; 32]) };
        let at = UnixTime::from_seconds(1_795_248_000);
        let seen = Seen { identity: "0123".to_owned(), epoch: "4567".to_owned(), event, at };
        Remembered { seen, withdrawn_keys: Arc::default() }
    }

    fn with_withdrawn_key(kid: &str) -> Remembered {
        Remembered { withdrawn_keys: Arc::new(BTreeSet::from([kid.to_owned()])), ..seen(2) }
    }

    #[test]
    fn file_holds_last_commit_after_the_stop() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("broker.state");
        let (found, file) = StateFile::open(&path).unwrap();
        assert_eq!(found, None);
        for sequence in 1..100 {
            file.save(seen(sequence));
        }
        file.close();
        let (found, file) = StateFile::open(&path).unwrap();
        assert_eq!(found, Some(seen(99)));
        file.close();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "the file and its lock");
    }

    #[test]
    fn file_holds_withdrawn_key_at_once_while_other_commits_wait_for_a_second() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("broker.state");
        let (_, file) = StateFile::open(&path).unwrap();
        for kid in ["a", "b", "c"] {
            file.save(seen(1));
            file.save_and_wait(with_withdrawn_key(kid));
            assert_eq!(read(&path).unwrap(), Some(with_withdrawn_key(kid)));
        }
        file.save_at_once(with_withdrawn_key("d"));
        while read(&path).unwrap() != Some(with_withdrawn_key("d")) {
            thread::yield_now();
        }
        file.close();
        file.save_and_wait(with_withdrawn_key("e"));
    }

    #[test]
    fn rejects_second_broker_by_path_and_by_symbolic_link_until_first_one_stops() {
        let directory = TempDir::new().unwrap();
        let [path, link] = ["broker.state", "link.state"].map(|name| directory.path().join(name));
        let (_, first) = StateFile::open(&path).unwrap();
        first.save(seen(1));
        while !path.exists() {
            thread::yield_now();
        }
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for second in [&path, &link] {
            let error = StateFile::open(second).unwrap_err().to_string();
            assert!(error.contains("in use by another broker") && error.contains("AA_STATE_PATH"), "{error}");
        }
        first.close();
        assert_eq!(StateFile::open(&path).unwrap().0, Some(seen(1)));
    }

    #[test]
    fn rejects_corrupt_file_and_names_it() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("broker.state");
        let good = r#"{"version":1,"database":"0123","epoch":"4567","event":1,"hash":"HASH","at":1}"#;
        for (text, reason) in [
            (String::new(), "it is not a state file"),
            ("x".repeat(2 << 20), "too large"),
            (good.replace("HASH", "00"), "hash is malformed"),
            (good.replace("HASH", &"0".repeat(64)).replace("\"version\":1", "\"version\":2"), "version 2"),
            (good.replace("HASH", &"0".repeat(64)).replace("\"at\"", "\"on\""), "it is not a state file"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = StateFile::open(&path).unwrap_err().to_string();
            assert!(error.contains("broker.state") && error.contains(reason), "{text}: {error}");
            assert!(error.contains("delete it"), "{error}");
        }
        fs::write(&path, good.replace("HASH", &"0".repeat(64))).unwrap();
        assert!(StateFile::open(&path).unwrap().0.is_some());
    }

    /// A pipe without a reader in the place of the temporary file: the write does not end.
    #[test]
    fn waits_for_disk_that_hangs_for_a_limited_time_and_goes_on() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("broker.state");
        let pipe = directory.path().join(".broker.state.new");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (_, file) = StateFile::open(&path).unwrap();
        let begun = Instant::now();
        file.save_and_wait(with_withdrawn_key("a"));
        let waited = begun.elapsed();
        assert!(waited >= PATIENCE && file.is_behind(), "{waited:?}");
        for _ in 0..1000 {
            file.save(seen(3));
            file.save_and_wait(with_withdrawn_key("b"));
        }
        assert!(begun.elapsed() < waited + PATIENCE, "no caller waits behind a slow write");
        // The disk responds again: a pipe with a reader can't be synchronised, and the next write makes a file.
        let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        fs::remove_file(&pipe).unwrap();
        while file.is_behind() {
            file.save_and_wait(with_withdrawn_key("c"));
        }
        // The thread may have written the contents before these last.
        file.save_and_wait(with_withdrawn_key("c"));
        assert_eq!(read(&path).unwrap(), Some(with_withdrawn_key("c")));
        file.close();
    }

    #[test]
    fn stop_does_not_wait_for_disk_that_hangs() {
        let directory = TempDir::new().unwrap();
        let pipe = directory.path().join(".broker.state.new");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (_, file) = StateFile::open(&directory.path().join("broker.state")).unwrap();
        file.save(seen(1));
        let begun = Instant::now();
        file.close();
        assert!(begun.elapsed() < 4 * PATIENCE);
        // Ends the thread.
        fs::read(&pipe).unwrap();
    }

    #[test]
    fn file_that_cannot_be_written_is_behind_until_it_can() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("broker.state");
        let (_, file) = StateFile::open(&path).unwrap();
        let aside = directory.path().join(".broker.state.new");
        fs::create_dir(&aside).unwrap();
        file.save_and_wait(with_withdrawn_key("a"));
        assert!(file.is_behind());
        fs::remove_dir(&aside).unwrap();
        file.save_and_wait(with_withdrawn_key("b"));
        assert!(!file.is_behind());
        assert_eq!(read(&path).unwrap(), Some(with_withdrawn_key("b")));
    }
}
