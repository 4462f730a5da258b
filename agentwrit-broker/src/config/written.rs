//! The settings as an operator wrote them, with where they stand.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{
    args::Args,
    error::{ConfigError, Origin, shown},
    file::{FileContents, parse},
    names,
    values::Variable,
};

/// One value and where it stands.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) origin: Origin,
    pub(super) text: String,
}

/// For each variable that was written anywhere, the setting that wins.
pub(super) struct Written {
    settings: BTreeMap<&'static str, Setting>,
    /// The config file that was read.
    pub(super) file: Option<PathBuf>,
    /// Variables of the environment that begin like ours.
    pub(super) strangers: Vec<String>,
}

impl Written {
    pub(super) fn gather(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
    ) -> Result<Self, ConfigError> {
        let mut stronger = Environment::sort(environment)?;
        for (variable, value) in args.written() {
            if let Some(text) = value {
                stronger.settings.insert(variable, Setting { origin: Origin::Flag, text: text.clone() });
            }
        }
        let named = stronger.settings.get(names::CONFIG_PATH);
        let file = match named {
            Some(Setting { text, .. }) => Some(open_named(Path::new(text), read)?),
            None => open_default(stronger.home.as_deref(), read)?,
        };
        let (file, mut settings) = match file {
            Some((path, contents)) => {
                let settings = parse(&path, &contents)?;
                (Some(path), settings)
            }
            None => (None, BTreeMap::new()),
        };
        settings.extend(stronger.settings);
        Ok(Self { settings, file, strangers: stronger.strangers })
    }

    /// What was written for a variable.
    pub(super) fn find(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// The value of a variable, or its default.
    pub(super) fn value<T>(&self, variable: &Variable<T>) -> Result<T, ConfigError> {
        let setting = self.find(variable.name);
        let text = setting.map_or(variable.default, |setting| &setting.text);
        (variable.parse)(text).ok_or_else(|| ConfigError::Malformed {
            variable: variable.name,
            origin: setting.map_or(Origin::Default, |setting| setting.origin.clone()),
            value: shown(text),
            accepts: variable.accepts,
        })
    }
}

/// The variables of the environment that concern us.
struct Environment {
    settings: BTreeMap<&'static str, Setting>,
    strangers: Vec<String>,
    home: Option<PathBuf>,
}

impl Environment {
    fn sort(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut sorted = Self { settings: BTreeMap::new(), strangers: Vec::new(), home: None };
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            if name == "HOME" && !value.is_empty() {
                sorted.home = Some(value.into());
            } else if let Some(variable) = names::of_variable(name) {
                let text = value.into_string().map_err(|_| ConfigError::NotUnicode { variable })?;
                sorted.settings.insert(variable, Setting { origin: Origin::Environment, text });
            } else if name.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("AA_")) {
                if let Some(meant) = names::meant_by(name) {
                    return Err(ConfigError::Misspelt { name: shown(name), meant });
                }
                sorted.strangers.push(shown(name));
            }
        }
        Ok(sorted)
    }
}

type OpenFile = (PathBuf, FileContents);

/// A file that was asked for must be there.
fn open_named(path: &Path, read: &dyn Fn(&Path) -> io::Result<FileContents>) -> Result<OpenFile, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(ConfigError::FileMissing { path: path.into() });
    }
    let contents = read(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            ConfigError::FileMissing { path: path.into() }
        } else {
            ConfigError::FileUnreadable { path: path.into(), cause: error.to_string() }
        }
    })?;
    Ok((path.into(), contents))
}

/// The usual places may be empty; but a file there that cannot be read is not passed over, as its settings were meant.
fn open_default(
    home: Option<&Path>,
    read: &dyn Fn(&Path) -> io::Result<FileContents>,
) -> Result<Option<OpenFile>, ConfigError> {
    let system = Some(PathBuf::from("/etc/broker/config"));
    let personal = home.map(|home| home.join(".broker/config"));
    for path in [system, personal].into_iter().flatten() {
        match read(&path) {
            Ok(contents) => return Ok(Some((path, contents))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(ConfigError::FileUnreadable { path, cause: error.to_string() }),
        }
    }
    Ok(None)
}
