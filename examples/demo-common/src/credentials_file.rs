//! File of the credentials of registered apps, one entry per broker.
//!
//! 1. Only its owner can read it (0600). A file that others can read is rejected, since its secrets may be known.
//! 2. It is replaced as a whole, under a lock: a crash leaves the former contents, and simultaneous starts register one app.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use crate::broker::AppCredentials;

/// Error of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsFileError {
    /// It could not be read or written.
    #[error("the credentials file `{}`: {cause}", path.display())]
    Io {
        /// Path.
        path: PathBuf,
        /// Cause.
        cause: io::Error,
    },
    /// Others than its owner can read it.
    #[error("the credentials file `{}` is readable by other users: remove it", .0.display())]
    Readable(PathBuf),
    /// Its contents are not credentials.
    #[error("the credentials file `{}` does not hold credentials: remove it", .0.display())]
    Malformed(PathBuf),
}

/// Entry of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    client_id: String,
    client_secret: String,
}

/// Entries by the broker's URL.
type Entries = BTreeMap<String, Entry>;

/// Locked file. The lock ends with the value.
#[derive(Debug)]
pub(crate) struct CredentialsFile {
    path: PathBuf,
    _lock: File,
}

impl CredentialsFile {
    /// Locks the file, after another instance if necessary. It need not exist.
    pub(crate) async fn open(path: &Path) -> Result<Self, CredentialsFileError> {
        let path = path.to_owned();
        let failed = |cause| CredentialsFileError::Io { path: path.clone(), cause };
        let locked = path.clone();
        let lock = spawn_blocking(move || lock(&locked)).await.map_err(io::Error::other).flatten().map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns the credentials of the app at a broker.
    pub(crate) fn credentials(&self, broker_url: &str) -> Result<Option<AppCredentials>, CredentialsFileError> {
        let entry = self.entries()?.remove(broker_url);
        Ok(entry.map(|Entry { client_id, client_secret }| AppCredentials {
            client_id,
            client_secret: client_secret.into(),
        }))
    }

    /// Keeps the credentials of the app at a broker in place of former ones.
    pub(crate) fn keep(&self, broker_url: &str, app: &AppCredentials) -> Result<(), CredentialsFileError> {
        let mut entries = self.entries()?;
        let client_secret = app.client_secret.expose().to_owned();
        entries.insert(broker_url.to_owned(), Entry { client_id: app.client_id.clone(), client_secret });
        self.write(&entries).map_err(|cause| self.failed(cause))
    }

    fn entries(&self) -> Result<Entries, CredentialsFileError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(cause) => return Err(self.failed(cause)),
        };
        let mode = file.metadata().map_err(|cause| self.failed(cause))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(CredentialsFileError::Readable(self.path.clone()));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|cause| self.failed(cause))?;
        serde_json::from_str(&text).map_err(|_| CredentialsFileError::Malformed(self.path.clone()))
    }

    fn write(&self, entries: &Entries) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(directory(&self.path))?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        serde_json::to_writer_pretty(&mut file, entries)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
    }

    fn failed(&self, cause: io::Error) -> CredentialsFileError {
        CredentialsFileError::Io { path: self.path.clone(), cause }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory(path))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(name)?;
    file.lock()?;
    Ok(file)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str) -> AppCredentials {
        AppCredentials { client_id: id.to_owned(), client_secret: format!("secret of {id}").into() }
    }

    #[tokio::test]
    async fn keeps_one_entry_per_broker_for_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/demo.json");
        let file = CredentialsFile::open(&path).await.unwrap();
        assert!(file.credentials("http://a").unwrap().is_none());
        for (url, id) in [("http://a", "1"), ("http://b", "2"), ("http://a", "3")] {
            file.keep(url, &app(id)).unwrap();
        }
        for (url, id) in [("http://a", "3"), ("http://b", "2")] {
            let kept = file.credentials(url).unwrap().unwrap();
            assert_eq!((&*kept.client_id, kept.client_secret.expose()), (id, &*format!("secret of {id}")));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn second_opening_waits_for_end_of_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.json");
        let first = CredentialsFile::open(&path).await.unwrap();
        let other = path.clone();
        let second = tokio::spawn(async move { CredentialsFile::open(&other).await });
        let probe = File::open(directory.path().join("demo.json.lock")).unwrap();
        assert!(matches!(probe.try_lock(), Err(fs::TryLockError::WouldBlock)));
        first.keep("http://a", &app("1")).unwrap();
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(second.credentials("http://a").unwrap().unwrap().client_id, "1");
    }

    #[tokio::test]
    async fn rejects_file_that_others_can_read_and_malformed_contents() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.json");
        let file = CredentialsFile::open(&path).await.unwrap();
        file.keep("http://a", &app("1")).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(file.credentials("http://a"), Err(CredentialsFileError::Readable(_))), "{mode:o}");
            assert!(file.keep("http://a", &app("2")).is_err());
        }
        for text in ["", "[]", r#"{"http://a": {}}"#, r#"{"http://a": {"client_id": "1"}}"#] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(file.credentials("http://a"), Err(CredentialsFileError::Malformed(_))), "{text}");
        }
    }
}
