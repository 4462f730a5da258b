//! State of a follower that survives a restart.
//!
//! 1. The file is written under a temporary name, synced and renamed: it holds the old state or the new one, never a mixture.
//! 2. A checksum covers the whole file, which is for one issuer.
//! 3. It holds no secrets, but a user who can write it decides which tokens this service accepts: it is made readable and writable by
//!    its owner only. One that others than owner and group can write to is refused, as is one that belongs to a user other
//!    than the service's own and root.
//!
//! Layout: a line that names the format, a line of JSON, 24 bytes for each entry (key, `revoked_at` and `expires_at` as
//! 32-bit big-endian seconds), and the SHA-256 of all that.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::RemoteError;
use crate::{
    clock::UnixTime,
    feed::{FeedState, KeyAnnouncement},
    keys::{KeyId, KeySet},
    revocation::{Entry, RevocationKey},
    trusted::RemovedKeys,
};

const FORMAT: &[u8] = b"agentwrit follower state 1\n";
const ENTRY_LENGTH: usize = 24;
const DIGEST_LENGTH: usize = 32;

/// A follower's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) keys: KeySet,
    pub(super) keys_confirmed_at: UnixTime,
    pub(super) removed: RemovedKeys,
    /// `None` when revocations are not followed.
    pub(super) feed: Option<FeedState>,
}

/// Reason why a state file cannot be used. No defect is ignored: a service that starts without its state can be rolled
/// back to an older one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// The file cannot be read.
    #[error("it can't be read: {cause}")]
    Unreadable {
        /// Error of the operating system.
        cause: String,
    },
    /// The file cannot be written.
    #[error("it can't be written: {cause}; choose a place in a directory that this service may write to")]
    Unwritable {
        /// Error of the operating system.
        cause: String,
    },
    /// The file is not a state of this version.
    #[error("it is not a follower's state of this version; choose another place, or move it away")]
    Foreign,
    /// The file is truncated or altered.
    #[error("it is damaged; restore it, or move it away to start from the broker's present state")]
    Damaged,
    /// Others than its owner can change it.
    #[error(
        "others can write to it (mode {mode:04o}), who then decide which tokens this service accepts: run \
             `chmod 600` on it, or move it away if another user may have changed it"
    )]
    Exposed {
        /// Permission bits of the file.
        mode: u32,
    },
    /// Another user owns the file and can change it.
    #[error(
        "it belongs to the user {owner}, who can decide which tokens this service accepts: run `chown` on it if you know its \
             contents, or move it away"
    )]
    OtherOwner {
        /// The numeric id of its owner.
        owner: u32,
    },
    /// The file is of another issuer.
    #[error("it is of issuer `{found}`; each issuer needs its own state file")]
    OtherIssuer {
        /// Issuer of the file.
        found: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    issuer: String,
    keys: String,
    keys_confirmed_at: u64,
    /// Keys that the feed omitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dropped_kids: Vec<String>,
    /// Announced keys that a later key set lacked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unpublished_kids: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feed: Option<FeedHead>,
    entries: usize,
}

#[derive(Serialize, Deserialize)]
struct FeedHead {
    epoch: String,
    cursor: u64,
    true_at: u64,
    validity: u64,
    /// Keys that the newest response announces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kids: Option<Vec<String>>,
}

impl FeedHead {
    fn announced(&self) -> Result<Option<KeyAnnouncement>, StateFileError> {
        let Some(kids) = &self.kids else { return Ok(None) };
        let announced = KeyAnnouncement::new(key_ids(kids)?, None);
        announced.map(Some).ok_or(StateFileError::Foreign)
    }
}

fn key_ids(kids: &[String]) -> Result<Vec<KeyId>, StateFileError> {
    kids.iter().map(|kid| KeyId::parse(kid)).collect::<Option<_>>().ok_or(StateFileError::Foreign)
}

fn names(key_ids: &[KeyId]) -> Vec<String> {
    key_ids.iter().map(ToString::to_string).collect()
}

/// The place of a state.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    issuer: String,
}

impl StateFile {
    pub(super) fn new(path: PathBuf, issuer: &str) -> Self {
        Self { path, issuer: issuer.to_owned() }
    }

    /// The state of an earlier run, if there was one.
    pub(super) fn load(&self) -> Result<Option<State>, RemoteError> {
        let unreadable = |error: io::Error| self.failed(StateFileError::Unreadable { cause: error.to_string() });
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        // The open file is checked, not its name, which could be replaced meanwhile.
        check_private(&file.metadata().map_err(unreadable)?).map_err(|error| self.failed(error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unreadable)?;
        self.decode(&bytes).map(Some).map_err(|error| self.failed(error))
    }

    pub(super) fn save(&self, state: &State) -> Result<(), RemoteError> {
        let written = self.replace(&self.encode(state));
        written.map_err(|error| self.failed(StateFileError::Unwritable { cause: error.to_string() }))
    }

    fn failed(&self, error: StateFileError) -> RemoteError {
        RemoteError::StateFile { path: self.path.clone(), error }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let name = self.path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let mut beside = name.to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = directory.join(beside);
        let written = write_synced(&beside, bytes).and_then(|()| fs::rename(&beside, &self.path));
        if let Err(error) = written {
            // The first error is the one to report.
            drop(fs::remove_file(&beside));
            return Err(error);
        }
        // The name is durable when the directory is.
        File::open(directory)?.sync_all()
    }

    fn encode(&self, state: &State) -> Vec<u8> {
        let entries = state.feed.as_ref().map_or(&[][..], |feed| &feed.entries);
        let head = Head {
            issuer: self.issuer.clone(),
            keys: state.keys.to_jwks(),
            keys_confirmed_at: state.keys_confirmed_at.seconds(),
            dropped_kids: names(&state.removed.dropped),
            unpublished_kids: names(&state.removed.unpublished),
            feed: state.feed.as_ref().map(|feed| FeedHead {
                epoch: feed.epoch.clone(),
                cursor: feed.cursor,
                true_at: feed.true_at.seconds(),
                validity: feed.validity.as_secs(),
                kids: feed.announced.as_ref().map(|keys| names(keys.key_ids())),
            }),
            entries: entries.len(),
        };
        let mut bytes = FORMAT.to_vec();
        // Strings and numbers always serialise.
        bytes.extend(serde_json::to_vec(&head).unwrap_or_default());
        bytes.push(b'\n');
        for entry in entries {
            bytes.extend_from_slice(entry.key.as_bytes());
            bytes.extend_from_slice(&seconds(entry.revoked_at));
            bytes.extend_from_slice(&seconds(entry.expires_at));
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Result<State, StateFileError> {
        if !bytes.starts_with(FORMAT) {
            return Err(if FORMAT.starts_with(bytes) { StateFileError::Damaged } else { StateFileError::Foreign });
        }
        let split = bytes.len().checked_sub(DIGEST_LENGTH).and_then(|at| bytes.split_at_checked(at));
        let (content, digest) = split.ok_or(StateFileError::Damaged)?;
        if Sha256::digest(content).as_slice() != digest {
            return Err(StateFileError::Damaged);
        }
        // The checksum is verified: the rest is as written.
        let content = content.strip_prefix(FORMAT).ok_or(StateFileError::Foreign)?;
        let end = content.iter().position(|byte| *byte == b'\n').ok_or(StateFileError::Foreign)?;
        let (head, entries) = content.split_at_checked(end).ok_or(StateFileError::Foreign)?;
        let head: Head = agentwrit_json::object_from_slice(head, 4).map_err(|_| StateFileError::Foreign)?;
        if head.issuer != self.issuer {
            return Err(StateFileError::OtherIssuer { found: head.issuer });
        }
        let entries: Option<Vec<Entry>> =
            entries.get(1..).unwrap_or_default().chunks(ENTRY_LENGTH).map(decode_entry).collect();
        let entries = entries.filter(|entries| entries.len() == head.entries).ok_or(StateFileError::Foreign)?;
        let announced = head.feed.as_ref().map(FeedHead::announced).transpose()?.flatten();
        Ok(State {
            keys: KeySet::from_jwks(head.keys.as_bytes()).map_err(|_| StateFileError::Foreign)?,
            keys_confirmed_at: UnixTime::from_seconds(head.keys_confirmed_at),
            removed: RemovedKeys {
                dropped: key_ids(&head.dropped_kids)?,
                unpublished: key_ids(&head.unpublished_kids)?,
            },
            feed: head.feed.map(|feed| FeedState {
                epoch: feed.epoch,
                cursor: feed.cursor,
                true_at: UnixTime::from_seconds(feed.true_at),
                validity: std::time::Duration::from_secs(feed.validity),
                entries,
                announced,
            }),
        })
    }
}

#[cfg(unix)]
fn check_private(metadata: &fs::Metadata) -> Result<(), StateFileError> {
    use std::os::unix::fs::MetadataExt as _;
    check_access(metadata.uid(), metadata.mode() & 0o7777, rustix::process::geteuid().as_raw())
}

/// Checks the owner and the permission bits of a state file that `user` reads.
#[cfg(unix)]
fn check_access(owner: u32, mode: u32, user: u32) -> Result<(), StateFileError> {
    if owner != user && owner != 0 {
        return Err(StateFileError::OtherOwner { owner });
    }
    if mode & 0o002 != 0 {
        return Err(StateFileError::Exposed { mode });
    }
    if mode & 0o020 != 0 {
        // Kubernetes opens volumes to the group (`fsGroup`), so this alone must not stop a service.
        tracing::warn!(mode = format_args!("{mode:04o}"), "the group can write to the follower's state file");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_: &fs::Metadata) -> Result<(), StateFileError> {
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // An existing link is not followed.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn seconds(time: UnixTime) -> [u8; 4] {
    u32::try_from(time.seconds()).unwrap_or(u32::MAX).to_be_bytes()
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let (key, times) = bytes.split_first_chunk::<16>()?;
    let (revoked_at, expires_at) = times.split_first_chunk::<4>()?;
    let at = |bytes: [u8; 4]| UnixTime::from_seconds(u64::from(u32::from_be_bytes(bytes)));
    Some(Entry {
        key: RevocationKey::from_bytes(*key),
        revoked_at: at(*revoked_at),
        expires_at: at(expires_at.try_into().ok()?),
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn rejects_state_file_that_another_user_can_change() {
        for (owner, mode, user, expected) in [
            (1000, 0o600, 1000, Ok(())),
            (0, 0o600, 1000, Ok(())),
            (0, 0o600, 0, Ok(())),
            (1000, 0o660, 1000, Ok(())),
            (1001, 0o600, 1000, Err(StateFileError::OtherOwner { owner: 1001 })),
            (1001, 0o600, 0, Err(StateFileError::OtherOwner { owner: 1001 })),
            (1000, 0o602, 1000, Err(StateFileError::Exposed { mode: 0o602 })),
        ] {
            assert_eq!(check_access(owner, mode, user), expected, "owner {owner}, mode {mode:o}, user {user}");
        }
    }
}
