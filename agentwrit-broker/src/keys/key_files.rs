//! Files of a broker that keeps its keys beside an SQLite database.
//!
//! 1. The active key is the file at `AA_SIGNING_KEY_PATH`. Files of prepared and retiring keys are beside it, in
//!    `<path>.d/<kid>.pem`, mode 0600, in a directory of mode 0700.
//! 2. A key's file is on the disk before its row is committed. Files are renamed and removed after the commit: what a crash
//!    leaves undone, the next start does ([`KeyFiles::settle`]).
//! 3. The rows in the database say which key is in which state. A file of a key without a row stays: it may belong to another
//!    database. One that this process made is removed after the next commit of a change ([`Custody::settle`]): until then, a
//!    commit that was reported as failed may turn out durable after a crash.
//! 4. A file that was being written when the process was killed holds a private half under another name. The start, which holds
//!    the lock of the database, removes such files ([`KeyFiles::remove_partial`]).
//!
//! [`Custody::settle`]: super::Custody::settle

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use agentwrit_verify::issue::SigningKey;

use super::{
    Entropy, KeyFileError, private_file,
    signing::{self, Seed},
};
use crate::domain::{KeyState, StoredKey};

/// Ending of the names of key files.
const EXTENSION: &str = ".pem";
/// Length of a thumbprint (RFC 7638) in base64url.
const KEY_ID_LENGTH: usize = 43;

/// Paths of the key files.
#[derive(Clone, Debug)]
pub(crate) struct KeyFiles {
    /// File of the active key.
    path: PathBuf,
    /// Directory of the other keys.
    directory: PathBuf,
}

impl KeyFiles {
    /// The files of the key at `path`. A symbolic link stays: the file that it leads to is replaced.
    pub(crate) fn at(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.into());
        let mut directory = OsString::from(&path);
        directory.push(".d");
        Self { path, directory: directory.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the key at the path. Returns none if the file is missing.
    pub(super) fn at_path(&self) -> Result<Option<SigningKey>, KeyFileError> {
        read(&self.path)
    }

    /// Reads a key from its file in the directory, or from that at the path. Returns none if neither holds it.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] of a file that may be that of the key.
    pub(super) fn find(&self, kid: &str) -> Result<Option<Seed>, KeyFileError> {
        let in_directory = self.in_file_of(kid);
        if let Ok(Some(seed)) = in_directory {
            return Ok(Some(seed));
        }
        let at_path = self.at_path_if(kid);
        match (in_directory, at_path) {
            (_, Ok(Some(seed))) => Ok(Some(seed)),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(None)) => Ok(None),
        }
    }

    fn in_file_of(&self, kid: &str) -> Result<Option<Seed>, KeyFileError> {
        let Some(path) = self.named(kid) else { return Ok(None) };
        let Some(seed) = signing::read(&path)? else { return Ok(None) };
        if key_of(&path, &seed)?.id().as_str() == kid { Ok(Some(seed)) } else { Err(KeyFileError::Misnamed { path }) }
    }

    fn at_path_if(&self, kid: &str) -> Result<Option<Seed>, KeyFileError> {
        let Some(seed) = signing::read(&self.path)? else { return Ok(None) };
        Ok((key_of(&self.path, &seed)?.id().as_str() == kid).then_some(seed))
    }

    /// Makes a key and its file, which is on the disk when this returns.
    pub(super) fn make(&self, entropy: &dyn Entropy) -> Result<SigningKey, KeyFileError> {
        let seed = signing::new_seed(entropy);
        let key = key_of(&self.directory, &seed)?;
        self.write(key.id().as_str(), &seed, entropy)?;
        Ok(key)
    }

    /// Removes the file of a key that is not the active one, if there is one.
    pub(super) fn remove(&self, kid: &str) -> Result<(), KeyFileError> {
        let Some(path) = self.named(kid) else { return Ok(()) };
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.directory).map_err(|error| immovable(&path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(immovable(&path, &error)),
        }
    }

    /// Gives each key the file of its state, and removes files of keys that are not published any more. Changes nothing if
    /// nothing is to be done, so that keys of a directory that can't be written serve as long as no key changes.
    pub(super) fn settle(&self, rows: &[StoredKey], entropy: &dyn Entropy) -> Result<(), KeyFileError> {
        if let Some(active) = rows.iter().find(|row| row.state == KeyState::Active) {
            self.put_at_path(&active.kid, rows, entropy)?;
        }
        // The file of the active key is the one at the path.
        let mut ended = rows.iter().filter(|row| !row.state.is_published() || row.state == KeyState::Active);
        ended.try_for_each(|row| self.remove(&row.kid))
    }

    /// Returns the files in the directory.
    pub(crate) fn in_directory(&self) -> Vec<PathBuf> {
        list(&self.directory)
    }

    /// Removes files that a process was writing when it was killed. Returns an error for each that stays.
    pub(super) fn remove_partial(&self) -> Vec<KeyFileError> {
        let in_directory = self.in_directory().into_iter().filter(|path| private_file::is_partial(path, is_key_file));
        let (name, nonce) = (file_name(&self.path), file_name(&super::nonce_file_beside(&self.path)));
        let beside = list(self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        let beside = beside.into_iter().filter(|path| {
            private_file::is_partial(path, |of| Some(of) == name.as_deref() || Some(of) == nonce.as_deref())
        });
        let removed = in_directory.chain(beside).map(|path| match fs::remove_file(&path) {
            Ok(()) => {
                tracing::info!(component = "signing", path = %path.display(), "removed a file that was not written to its end");
                Ok(())
            }
            Err(error) => Err(immovable(&path, &error)),
        });
        removed.filter_map(Result::err).collect()
    }

    /// Returns the files of keys that no row names.
    pub(super) fn unknown(&self, rows: &[StoredKey]) -> Vec<PathBuf> {
        let is_known = |path: &PathBuf| rows.iter().any(|row| self.named(&row.kid).as_ref() == Some(path));
        self.in_directory().into_iter().filter(|path| !is_known(path)).collect()
    }

    /// Puts the file of the active key at the path, in one step. That of the key before it goes to the directory first, unless
    /// that key has ended.
    fn put_at_path(&self, active: &str, rows: &[StoredKey], entropy: &dyn Entropy) -> Result<(), KeyFileError> {
        let is_published = |kid: &str| rows.iter().any(|row| row.kid == kid && row.state.is_published());
        match self.at_path() {
            Ok(None) => {}
            Ok(Some(former)) if former.id().as_str() == active => return Ok(()),
            Ok(Some(former)) => {
                let kid = former.id().as_str();
                if is_published(kid)
                    && let Some(seed) = self.at_path_if(kid)?
                {
                    self.write(kid, &seed, entropy)?;
                }
            }
            Err(error) if self.may_replace(rows) => {
                tracing::warn!(component = "signing", %error, "the file is replaced by that of the active key");
            }
            Err(error) => return Err(error),
        }
        let Some(path) = self.named(active) else { return Ok(()) };
        fs::rename(&path, &self.path).map_err(|error| immovable(&path, &error))?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let synced = sync(parent.unwrap_or(Path::new("."))).and_then(|()| sync(&self.directory));
        synced.map_err(|error| immovable(&self.path, &error))
    }

    /// Returns true if the file at the path, which can't be used, holds nothing that is needed: a damaged key, or one that is
    /// open to others and has ended.
    fn may_replace(&self, rows: &[StoredKey]) -> bool {
        let lacks_file =
            |row: &StoredKey| row.state.is_published() && !matches!(self.in_file_of(&row.kid), Ok(Some(_)));
        if rows.iter().any(lacks_file) {
            return false;
        }
        match signing::read_in_any_mode(&self.path) {
            Ok(Some(seed)) => {
                key_of(&self.path, &seed).is_ok_and(|key| rows.iter().any(|row| row.kid == key.id().as_str()))
            }
            Ok(None) => true,
            Err(error) => matches!(error, KeyFileError::Corrupt { .. }),
        }
    }

    /// Writes the file of a key that is not the active one, unless there is one.
    pub(super) fn write(&self, kid: &str, seed: &Seed, entropy: &dyn Entropy) -> Result<(), KeyFileError> {
        let Some(path) = self.named(kid) else { return Err(KeyFileError::Misnamed { path: self.path.clone() }) };
        let written = self
            .make_directory()
            .and_then(|()| signing::encode(seed))
            .and_then(|pem| private_file::create(&path, &pem, entropy));
        written.map_err(|error| KeyFileError::Uncreatable { path, cause: error.to_string() })
    }

    fn make_directory(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Ok(()) => sync(self.directory.parent().unwrap_or(Path::new("."))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.check_directory(),
            Err(error) => Err(error),
        }
    }

    /// Rejects a directory in which other users could put files in the place of keys.
    fn check_directory(&self) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&self.directory)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if !metadata.is_dir() {
            return Err(io::Error::other(format!("`{}` is no directory", self.directory.display())));
        }
        if mode & 0o007 != 0 {
            let directory = self.directory.display();
            return Err(io::Error::other(format!(
                "`{directory}` is open to others (mode {mode:04o}): run `chmod 700` on it"
            )));
        }
        Ok(())
    }

    /// Path of the file of a key that is not the active one. An id that is no thumbprint has none.
    fn named(&self, kid: &str) -> Option<PathBuf> {
        is_thumbprint(kid).then(|| self.directory.join(format!("{kid}{EXTENSION}")))
    }
}

fn is_thumbprint(kid: &str) -> bool {
    kid.len() == KEY_ID_LENGTH && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_key_file(name: &str) -> bool {
    name.strip_suffix(EXTENSION).is_some_and(is_thumbprint)
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn read(path: &Path) -> Result<Option<SigningKey>, KeyFileError> {
    signing::read(path)?.map(|seed| key_of(path, &seed)).transpose()
}

pub(super) fn key_of(path: &Path, seed: &Seed) -> Result<SigningKey, KeyFileError> {
    SigningKey::from_seed(seed).map_err(|_| KeyFileError::Corrupt { path: path.into() })
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn immovable(path: &Path, error: &io::Error) -> KeyFileError {
    KeyFileError::Immovable { path: path.into(), cause: error.to_string() }
}
