//! The database's files: for their owner only, for one broker at a time.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::OpenError;

/// Locks the database for this process, and makes it if there is none. The lock lasts as long as the file that it returns.
///
/// The lock is on a file of its own: closing any other handle of the database would drop SQLite's own locks on it.
pub(super) fn claim(path: &Path) -> Result<File, OpenError> {
    let lock_path = beside(path, ".lock");
    check_private(&lock_path)?;
    let lock = private().truncate(false).open(&lock_path).map_err(|error| OpenError::io(&lock_path, &error))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse { path: path.to_owned() },
        TryLockError::Error(error) => OpenError::io(&lock_path, &error),
    })?;
    check_side_files(path)?;
    create(path)?;
    Ok(lock)
}

/// That nobody else can open the database or the files beside it.
pub(super) fn check_side_files(path: &Path) -> Result<(), OpenError> {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")].iter().try_for_each(|file| check_private(file))
}

/// An empty database, private before anything is in it; SQLite gives its side files the same permissions.
fn create(path: &Path) -> Result<(), OpenError> {
    let io_error = |error| OpenError::io(path, &error);
    match private().create_new(true).open(path) {
        Ok(file) => {
            file.sync_all().map_err(io_error)?;
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all()).map_err(io_error)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error(error)),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt;

    match path.metadata() {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o7777;
            let others = mode & 0o077;
            if others == 0 { Ok(()) } else { Err(OpenError::TooOpen { path: path.to_owned(), mode }) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(path, &error)),
    }
}

#[cfg(not(unix))]
fn check_private(_path: &Path) -> Result<(), OpenError> {
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
