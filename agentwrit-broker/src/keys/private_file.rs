//! Files with secrets: read only if they are private, made so that neither a crash nor a second broker leaves half of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{Entropy, random};

/// Largest file that is read, in bytes. A key file has less than 200.
const MAX_SIZE: u64 = 64 * 1024;
/// Random bytes in the name under which a file is written.
const SUFFIX_BYTES: usize = 8;

/// Reason that a file is not read.
#[derive(Debug)]
pub(super) enum PrivateFileError {
    Io(io::Error),
    /// It is a directory, a device or the like.
    NotRegular,
    /// Users other than its owner and group can read or write it.
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
}

/// Reads a file. Returns None if it is missing.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    read_with(path, Exposed::Rejected)
}

/// Reads a file that may be open to others. Returns None if it is missing.
pub(super) fn read_in_any_mode(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    read_with(path, Exposed::Accepted)
}

/// Decision about a file that users other than its owner and group can read or write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exposed {
    Rejected,
    Accepted,
}

fn read_with(path: &Path, exposed: Exposed) -> Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PrivateFileError::Io(error)),
    };
    // The open file is checked, not its name, which could be replaced meanwhile.
    let metadata = file.metadata().map_err(PrivateFileError::Io)?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NotRegular);
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if exposed == Exposed::Rejected && mode & 0o007 != 0 {
        return Err(PrivateFileError::Exposed { mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_SIZE).read_to_end(&mut bytes).map_err(PrivateFileError::Io)?;
    Ok(Some(bytes))
}

/// Makes a file, unless one of that name exists: written aside, synced, then linked to its name.
pub(super) fn create(path: &Path, text: &str, entropy: &dyn Entropy) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        // To a volume that is not mounted, for example: a new secret would invalidate what was issued under that one.
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link to a file that does not exist"));
    }
    let suffix = HEXLOWER.encode(&random::<SUFFIX_BYTES>(entropy));
    let aside = directory.join(format!(".{}.{suffix}", name.to_string_lossy()));
    let placed = write_aside(&aside, text).and_then(|()| place(&aside, path));
    // Missing if it was renamed. A leftover must not fail the start.
    fs::remove_file(&aside).ok();
    placed?;
    File::open(directory)?.sync_all()
}

/// Returns true if a file of a name that `is_name` accepts was written at this path, and the process was killed before it had
/// that name, or before this one was removed.
pub(super) fn is_partial(path: &Path, is_name: impl FnOnce(&str) -> bool) -> bool {
    let aside = path.file_name().and_then(|name| name.to_str()?.strip_prefix('.')?.rsplit_once('.'));
    aside.is_some_and(|(name, suffix)| {
        suffix.len() == SUFFIX_BYTES * 2 && HEXLOWER.decode(suffix.as_bytes()).is_ok() && is_name(name)
    })
}

fn write_aside(aside: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Gives the file its name, unless a file of that name exists.
fn place(aside: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(aside, path) {
        // Some network file systems have no hard links. There, two first starts can collide for a moment.
        Err(_) if fs::symlink_metadata(path).is_err() => fs::rename(aside, path),
        Ok(()) | Err(_) => Ok(()),
    }
}
