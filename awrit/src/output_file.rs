//! Files that commands write: the whole file or nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{context::Context, error::CliError};

/// Writes `bytes` and a line end to `path`, or to stdout for `-`.
pub(crate) fn write(path: &Path, bytes: &[u8], context: &Context) -> Result<(), CliError> {
    let mut file = OutputFile::create(path, context)?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.commit()
}

/// Destination of a command's output.
pub(crate) enum OutputFile {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    /// Device or pipe, written directly.
    Special {
        path: PathBuf,
        file: BufWriter<File>,
    },
    /// Regular file, written under a temporary name that `commit` replaces.
    Regular {
        path: PathBuf,
        file: BufWriter<NamedTempFile>,
        replaces: bool,
    },
}

impl OutputFile {
    /// Asks for confirmation before a file is replaced.
    pub(crate) fn create(path: &Path, context: &Context) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::new(io::stdout().lock())));
        }
        let failed = |error: io::Error| CliError::file(path, &error);
        // A link is kept, and its target replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let existing = fs::metadata(&target).ok();
        if existing.as_ref().is_some_and(|existing| !existing.is_file() && !existing.is_dir()) {
            let file = OpenOptions::new().write(true).open(&target).map_err(failed)?;
            return Ok(Self::Special { path: path.to_owned(), file: BufWriter::new(file) });
        }
        if existing.is_some() {
            context.confirm(&format!("Replace {}?", path.display()))?;
        }
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(CliError::file(path, &"there is no such directory"));
        }
        let file = NamedTempFile::new_in(directory).map_err(failed)?;
        if let Some(existing) = &existing {
            file.as_file().set_permissions(existing.permissions()).map_err(failed)?;
        }
        Ok(Self::Regular { path: target, file: BufWriter::new(file), replaces: existing.is_some() })
    }

    /// Returns true if `commit` replaces an existing file.
    pub(crate) fn replaces_file(&self) -> bool {
        matches!(self, Self::Regular { replaces: true, .. })
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Stdout(out) => Ok(out.write_all(bytes)?),
            Self::Special { path, file } => file.write_all(bytes).map_err(|error| CliError::file(path, &error)),
            Self::Regular { path, file, .. } => file.write_all(bytes).map_err(|error| CliError::file(path, &error)),
        }
    }

    /// Flushes the output; gives a regular file its name once it is on disk.
    pub(crate) fn commit(self) -> Result<(), CliError> {
        match self {
            Self::Stdout(mut out) => Ok(out.flush()?),
            Self::Special { path, mut file } => file.flush().map_err(|error| CliError::file(&path, &error)),
            Self::Regular { path, file, .. } => {
                let failed = |error: io::Error| CliError::file(&path, &error);
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&path).map(drop).map_err(|error| failed(error.error))
            }
        }
    }
}
