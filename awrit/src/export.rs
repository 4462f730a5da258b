//! Files that commands write: all of them or nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{context::Context, error::CliError};

/// Writes `bytes` and a line end to `path`, or to stdout for `-`.
pub(crate) fn write(path: &Path, bytes: &[u8], context: &Context) -> Result<(), CliError> {
    let mut target = Target::open(path, context)?;
    target.write_all(bytes)?;
    target.write_all(b"\n")?;
    target.keep()
}

/// Where a command writes to.
pub(crate) enum Target {
    Stdout(BufWriter<io::StdoutLock<'static>>),
    /// A device or a pipe: what is written is gone.
    Through {
        path: PathBuf,
        file: BufWriter<File>,
    },
    /// A file that takes its name only when it is whole and on disk.
    File {
        path: PathBuf,
        file: BufWriter<NamedTempFile>,
        replaces: bool,
    },
}

impl Target {
    /// Asks the person at the terminal before a file is replaced.
    pub(crate) fn open(path: &Path, context: &Context) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::new(io::stdout().lock())));
        }
        let failed = |error: io::Error| CliError::file(path, &error);
        // A link stands for what it points to.
        let path_there = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let there = fs::metadata(&path_there).ok();
        if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
            let file = OpenOptions::new().write(true).open(&path_there).map_err(failed)?;
            return Ok(Self::Through { path: path.to_owned(), file: BufWriter::new(file) });
        }
        if there.is_some() {
            context.confirm(&format!("Replace {}?", path.display()))?;
        }
        let directory = path_there.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(CliError::file(path, &"there is no such directory"));
        }
        let file = NamedTempFile::new_in(directory).map_err(failed)?;
        if let Some(there) = &there {
            file.as_file().set_permissions(there.permissions()).map_err(failed)?;
        }
        Ok(Self::File { path: path_there, file: BufWriter::new(file), replaces: there.is_some() })
    }

    /// Whether there is something that it takes the place of.
    pub(crate) fn replaces(&self) -> bool {
        matches!(self, Self::File { replaces: true, .. })
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Stdout(out) => Ok(out.write_all(bytes)?),
            Self::Through { path, file } => file.write_all(bytes).map_err(|error| CliError::file(path, &error)),
            Self::File { path, file, .. } => file.write_all(bytes).map_err(|error| CliError::file(path, &error)),
        }
    }

    /// Gives the file its name.
    pub(crate) fn keep(self) -> Result<(), CliError> {
        match self {
            Self::Stdout(mut out) => Ok(out.flush()?),
            Self::Through { path, mut file } => file.flush().map_err(|error| CliError::file(&path, &error)),
            Self::File { path, file, .. } => {
                let failed = |error: io::Error| CliError::file(&path, &error);
                let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
                file.as_file().sync_all().map_err(failed)?;
                file.persist(&path).map(drop).map_err(|error| failed(error.error))
            }
        }
    }
}
