//! The operator's session between commands: the token of the last login, in a file.
//!
//! 1. One file for each broker URL and identity, in `$XDG_STATE_HOME/awrit/sessions` (`~/.local/state/awrit/sessions`). The
//!    directory is 0700, the file 0600 and replaced whole. Both must belong to the effective user. A directory that other users can
//!    write, or a file that they can read or that is not regular, is not used. Symbolic links are not followed.
//! 2. The admin secret is not stored. Sixteen bits of an HMAC of it, keyed with the token, tell another secret from it, so that a
//!    wrong secret is rejected by the broker and does not continue the session of the right one. They do not confirm a guess of
//!    the secret: one wrong guess in 65,536 has the same bits.
//! 3. Of several commands at once one logs in; the others wait for it, by a lock on a file beside it. `awrit logout` takes the same
//!    lock, so that it does not miss a token that is being stored.
//! 4. A file that cannot be read or written costs a login, and nothing else.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use agentwrit_client::{Secret, StoredToken, TokenStore};
use agentwrit_verify::UnixTime;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use rustix::{fs::OFlags, process::geteuid};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

mod logout;
#[cfg(test)]
mod tests;

pub(crate) use logout::Logout;

/// Largest file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 64 * 1024;

/// Identity of the session's owner at the broker.
const IDENTITY: &str = "admin";

/// Directory of all sessions of this user; `None` without a home directory.
fn directory() -> Option<PathBuf> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
    let state = state.or_else(|| env::home_dir().and_then(absolute).map(|home| home.join(".local/state")));
    state.map(|state| state.join("awrit/sessions"))
}

/// Returns the store of the admin session at `broker`; `None` without a home directory.
pub(crate) fn store(broker: &str, secret: &Secret) -> Option<SessionStore> {
    directory().map(|directory| SessionFile::new(directory, broker).with_secret(secret))
}

/// Location of the session at one broker.
#[derive(Clone, Debug)]
struct SessionFile {
    directory: PathBuf,
    broker: String,
    /// User that must own directory and files.
    owner: u32,
}

/// Content of a session file.
#[derive(Serialize, Deserialize)]
struct Content {
    broker: String,
    identity: String,
    token: String,
    expires_at: UnixTime,
    /// Tells another admin secret from that of the login.
    secret_check: String,
}

/// Session read from a file of this user.
struct StoredSession {
    token: StoredToken,
    secret_check: String,
    /// Set where other users could read or change the file, or put another one in its place.
    is_exposed: bool,
}

impl SessionFile {
    fn new(directory: PathBuf, broker: &str) -> Self {
        Self { directory, broker: broker.to_owned(), owner: geteuid().as_raw() }
    }

    /// Returns the token store for a session that was started with `secret`.
    fn with_secret(self, secret: &Secret) -> SessionStore {
        SessionStore { file: self, secret: secret.clone() }
    }

    /// Reads the file; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, is not a regular file of this user, or holds no session at this broker.
    fn read(&self) -> io::Result<Option<StoredSession>> {
        let mut options = OpenOptions::new();
        let file = match open_own(options.read(true), &self.path("json"), self.owner) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let readable_by_others = file.metadata()?.mode() & 0o077 != 0;
        let is_exposed = readable_by_others || !self.is_directory_private();
        let mut text = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_SIZE).read_to_end(&mut text)?;
        let content: Content = serde_json::from_slice(&text)?;
        // Wiped when it is dropped.
        let token = StoredToken { token: Secret::from(content.token), expires_at: content.expires_at };
        if content.broker != self.broker || content.identity != IDENTITY {
            return Err(io::Error::other("it belongs to another broker or identity"));
        }
        Ok(Some(StoredSession { token, secret_check: content.secret_check, is_exposed }))
    }

    /// Removes the file; returns false if there was none.
    fn remove(&self) -> io::Result<bool> {
        match fs::remove_file(self.path("json")) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the lock of logins until the returned value is dropped; `None` while another process holds it.
    ///
    /// If no lock file can be opened, no session is stored either: the lock is granted.
    fn try_lock(&self) -> Option<Box<dyn Send>> {
        let Some(file) = self.lock_file() else { return Some(Box::new(())) };
        match file.try_lock() {
            Ok(()) => Some(Box::new(file)),
            Err(fs::TryLockError::WouldBlock) => None,
            Err(fs::TryLockError::Error(_)) => Some(Box::new(())),
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        let name = Sha256::new().chain_update(&self.broker).chain_update([0]).chain_update(IDENTITY).finalize();
        let name = HEXLOWER.encode(name.get(..16).unwrap_or_default());
        self.directory.join(format!("{name}.{extension}"))
    }

    fn write(&self, token: &StoredToken, secret_check: String) -> io::Result<()> {
        self.create_directory()?;
        let mut content = Content {
            broker: self.broker.clone(),
            identity: IDENTITY.to_owned(),
            token: token.token.expose().to_owned(),
            expires_at: token.expires_at,
            secret_check,
        };
        let text = serde_json::to_vec(&content).map(Zeroizing::new);
        content.token.zeroize();
        let text = text?;
        // 0600 from the first byte.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&text)?;
        file.persist(self.path("json")).map(drop).map_err(|error| error.error)
    }

    fn lock_file(&self) -> Option<File> {
        self.create_directory().ok()?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        open_own(&mut options, &self.path("lock"), self.owner).ok()
    }

    fn create_directory(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        if self.is_directory_private() {
            return Ok(());
        }
        Err(io::Error::other("other users own the directory or can write it"))
    }

    /// Returns true for a directory that this user owns and no other user can write.
    fn is_directory_private(&self) -> bool {
        fs::symlink_metadata(&self.directory)
            .is_ok_and(|found| found.is_dir() && found.uid() == self.owner && found.mode() & 0o022 == 0)
    }
}

/// Opens a regular file of `owner` without following a symbolic link or waiting for the writer of a pipe.
fn open_own(options: &mut OpenOptions, path: &Path, owner: u32) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.uid() == owner {
        return Ok(file);
    }
    Err(io::Error::other("it is not a regular file of this user"))
}

/// Session file together with the secret that its session was started with.
#[derive(Debug)]
pub(crate) struct SessionStore {
    file: SessionFile,
    secret: Secret,
}

impl SessionStore {
    fn secret_check(&self, token: &str) -> Option<String> {
        let mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).ok()?;
        let mac = mac.chain_update(self.secret.expose()).finalize().into_bytes();
        Some(HEXLOWER.encode(mac.get(..2)?))
    }
}

impl TokenStore for SessionStore {
    fn load(&self) -> Option<StoredToken> {
        let session = self.file.read().ok().flatten().filter(|session| !session.is_exposed)?;
        let same_secret = self.secret_check(session.token.token.expose())? == session.secret_check;
        same_secret.then_some(session.token)
    }

    fn save(&self, token: &StoredToken) {
        let Some(secret_check) = self.secret_check(token.token.expose()) else { return };
        // Without the file the next command logs in.
        self.file.write(token, secret_check).unwrap_or_default();
    }

    fn try_claim(&self) -> Option<Box<dyn Send>> {
        self.file.try_lock()
    }
}
