//! The database's files: private, and locked for one broker at a time.
//!
//! 1. A broker locks `<database>.lock` beside the database's canonical path, and on Linux the database's inode. So a second
//!    broker is rejected on the same path, a symbolic link or a hard link, and also after the lock file was deleted.
//! 2. The locks are `flock(2)` locks, which are independent of SQLite's own (`fcntl(2)`). But closing *any* handle of a
//!    file drops the `fcntl` locks that this process has on it. So the handle that holds the lock is closed after SQLite's,
//!    and a database that this process has open is rejected before another handle of it is opened.
//! 3. Permissions for others than owner and group are rejected.
//! 4. Several hard links of a file are rejected, on the locked handle. SQLite finds the write-ahead log by the database's
//!    name: after a crash, a start by another name would miss what was committed last.
//! 5. Symbolic links in the place of a file beside the database are rejected: the broker would create, or lock, their targets.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::OFlags;

use crate::store::OpenError;

/// Exclusive use of a database by this process until this value is dropped, which must be after SQLite's connections.
#[derive(Debug)]
pub(super) struct Claim {
    /// The path without symbolic links.
    path: PathBuf,
    _lock_file: LockedFile,
    _registration: Registration,
}

impl Claim {
    /// Locks the database at `path` for this process. Creates a missing database.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let path = canonical(path).map_err(|error| OpenError::io(path, &error))?;
        let lock_file = LockedFile::beside(&path)?;
        check_side_files(&path)?;
        create(&path)?;
        let mut registration = Registration::of(&path)?;
        // Elsewhere than on Linux the two kinds of locks may meet.
        if cfg!(target_os = "linux") {
            let database = private().open(&path).map_err(|error| OpenError::io(&path, &error))?;
            let database = registration.database.insert(LockedFile::lock(database, &path, &path)?);
            check_links(&path, &database.0.metadata().map_err(|error| OpenError::io(&path, &error))?)?;
        }
        check_links_of_all(&path)?;
        Ok(Self { path, _lock_file: lock_file, _registration: registration })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A database that this process has open. Dropped last, when no other handle is left.
#[derive(Debug)]
struct Registration {
    /// Device and inode.
    id: (u64, u64),
    /// Handle that holds the lock on the inode.
    database: Option<LockedFile>,
}

static OPEN: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

impl Registration {
    fn of(path: &Path) -> Result<Self, OpenError> {
        let metadata = path.metadata().map_err(|error| OpenError::io(path, &error))?;
        let id = (metadata.dev(), metadata.ino());
        let is_new = open_files().insert(id);
        if is_new { Ok(Self { id, database: None }) } else { Err(OpenError::InUse { path: path.to_owned() }) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Closes the handle while the set is locked: another database may get the inode of a deleted one at once.
        let mut open = open_files();
        self.database = None;
        open.remove(&self.id);
    }
}

fn open_files() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file with an exclusive lock, which is released when this value is dropped.
///
/// Closing the handle would not be enough: a child process has a copy of it from `fork` to `exec`, and the lock ends with
/// the last copy.
#[derive(Debug)]
pub(crate) struct LockedFile(File);

impl LockedFile {
    /// Locks `<path>.lock`, which it creates if missing. Returns [`OpenError::InUse`] with `path` if it is locked.
    pub(crate) fn beside(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        check_side_file(&lock_path)?;
        let file = private().create(true).open(&lock_path).map_err(|error| OpenError::io(&lock_path, &error))?;
        Self::lock(file, path, &lock_path)
    }

    fn lock(file: File, database: &Path, path: &Path) -> Result<Self, OpenError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: database.to_owned() }),
            Err(TryLockError::Error(error)) => Err(OpenError::io(path, &error)),
        }
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // After a failure the lock ends with the last copy of the handle.
        self.0.unlock().unwrap_or_default();
    }
}

/// Returns the path without symbolic links. For a file that does not exist, those of its directory are resolved.
pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link to a file that does not exist"));
    }
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    Ok(directory_of(path).canonicalize()?.join(name))
}

/// Returns the paths of the database and of the files that SQLite and the broker keep beside it.
pub(crate) fn all(path: &Path) -> [PathBuf; 4] {
    [path.to_owned(), beside(path, "-wal"), beside(path, "-shm"), beside(path, ".lock")]
}

/// Rejects a database, or a file beside it, that others can open or that is a symbolic link.
pub(super) fn check_side_files(path: &Path) -> Result<(), OpenError> {
    all(path).iter().try_for_each(|file| check_side_file(file))
}

/// Rejects a database, or a file beside it, that has several names.
pub(super) fn check_links_of_all(path: &Path) -> Result<(), OpenError> {
    all(path).iter().try_for_each(|file| match file.metadata() {
        Ok(metadata) => check_links(file, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(file, &error)),
    })
}

fn check_links(path: &Path, metadata: &Metadata) -> Result<(), OpenError> {
    match metadata.nlink() {
        0 | 1 => Ok(()),
        links => Err(OpenError::HardLinks { path: path.to_owned(), links }),
    }
}

/// Creates an empty, private database. SQLite gives the files beside it the same permissions.
fn create(path: &Path) -> Result<(), OpenError> {
    let io_error = |error| OpenError::io(path, &error);
    match private().create_new(true).open(path) {
        Ok(file) => {
            file.sync_all().map_err(io_error)?;
            File::open(directory_of(path)).and_then(|parent| parent.sync_all()).map_err(io_error)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error(error)),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    // The checks have rejected links with a better message; this is for one that was made since.
    options.read(true).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn check_side_file(path: &Path) -> Result<(), OpenError> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => Err(OpenError::SymbolicLink { path: path.to_owned() }),
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o007 != 0 { Err(OpenError::TooOpen { path: path.to_owned(), mode }) } else { Ok(()) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpenError::io(path, &error)),
    }
}

/// Returns the directory of a file.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_releases_lock_while_child_process_still_has_copy_of_handle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.db.lock");
        let open = || LockedFile::lock(private().create(true).open(&path).unwrap(), &path, &path);
        let locked = open().unwrap();
        // As a child has it between `fork` and `exec`.
        let copy = locked.0.try_clone().unwrap();
        assert_eq!(open().unwrap_err(), OpenError::InUse { path: path.clone() });
        drop(locked);
        open().unwrap();
        drop(copy);
    }
}
