//! Format of the config file.
//!
//! 1. One `KEY=VALUE` per line. Keys are the variables of the environment, and `MODE` and `ADMIN_SECRET`.
//! 2. White space around key and value does not count; everything else in a value does, also quotes and `#`.
//! 3. Lines that begin with `#` and empty lines are comments.
//! 4. `KEY=` without a value sets nothing.
//! 5. A line of another form, an unknown key or a repeated key is an error with its line number.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    error::{ConfigError, ErrorList, Origin, excerpt},
    names,
};

/// Text of a file and its permissions.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContents {
    /// The text.
    pub text: String,
    /// The permission bits.
    pub mode: u32,
}

impl std::fmt::Debug for FileContents {
    /// Omits the text, which may contain secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileContents").field("mode", &format_args!("{:04o}", self.mode)).finish_non_exhaustive()
    }
}

/// Reads a config file from disk: at most 64 KiB of UTF-8.
///
/// # Errors
///
/// Error of the operating system, or `InvalidData` if the file is too large or not UTF-8.
pub fn read_file(path: &Path) -> io::Result<FileContents> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let mut text = String::new();
    let size = file.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if u64::try_from(size).is_ok_and(|size| size > MAX_SIZE) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 64 KiB"));
    }
    Ok(FileContents { text, mode })
}

/// Value of a variable and its origin.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) text: String,
}

/// Parses the settings of a file. Adds its errors to `errors`.
pub(super) fn parse(path: &Path, contents: &FileContents, errors: &mut ErrorList) -> BTreeMap<&'static str, Setting> {
    let mut settings = BTreeMap::new();
    let text = contents.text.strip_prefix('\u{feff}').unwrap_or(&contents.text);
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some((variable, value)) = errors.keep(assignment(path, line, text)) else { continue };
        let origin = Origin::File { path: path.into(), line };
        if settings.insert(variable, Setting { origin, text: value.to_owned() }).is_some() {
            errors.0.push(ConfigError::DuplicateKey { path: path.into(), line, variable });
        }
    }
    // Checked even if the secret is overridden: a secret that others could read must be replaced.
    let secrets = [(names::ADMIN_SECRET, "ADMIN_SECRET"), (names::DATABASE_URL, "AA_DATABASE_URL")];
    let secret =
        secrets.into_iter().find(|(variable, _)| settings.get(variable).is_some_and(|found| !found.text.is_empty()));
    if let Some((_, secret)) = secret.filter(|_| contents.mode & 0o007 != 0) {
        errors.0.push(ConfigError::FileExposed { path: path.into(), secret, mode: contents.mode });
    }
    settings
}

fn assignment<'t>(path: &Path, line: usize, text: &'t str) -> Result<(&'static str, &'t str), ConfigError> {
    let syntax = || ConfigError::FileSyntax { path: path.into(), line };
    let (key, value) = text.split_once('=').ok_or_else(syntax)?;
    let key = key.trim_end();
    let unknown = || ConfigError::UnknownKey { path: path.into(), line, key: excerpt(key) };
    Ok((names::of_key(key).ok_or_else(unknown)?, value.trim_start()))
}

const MAX_SIZE: u64 = 64 * 1024;
