//! Files that commands write: all of them or nothing.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::error::CliError;

/// Writes `content` and a line end to `path`, or to stdout for `-`.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), CliError> {
    let mut target = Target::open(path)?;
    target.write_all(content)?;
    target.write_all(b"\n")?;
    target.keep()
}

/// A file that takes its name only when it is whole and on disk, or stdout.
pub(super) enum Target {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    File { path: PathBuf, file: BufWriter<NamedTempFile> },
}

impl Target {
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::new(io::stdout().lock())));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(CliError::file(path, &"there is no such directory"));
        }
        let file = NamedTempFile::new_in(directory).map_err(|error| CliError::file(path, &error))?;
        Ok(Self::File { path: path.to_owned(), file: BufWriter::new(file) })
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Stdout(out) => Ok(out.write_all(bytes)?),
            Self::File { path, file } => file.write_all(bytes).map_err(|error| CliError::file(path, &error)),
        }
    }

    /// Gives the file its name.
    pub(super) fn keep(self) -> Result<(), CliError> {
        match self {
            Self::Stdout(mut out) => Ok(out.flush()?),
            Self::File { path, file } => {
                let failed = |error: io::Error| CliError::file(&path, &error);
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&path).map(drop).map_err(|error| failed(error.error))
            }
        }
    }
}
