//! Settings as text, from flags, environment and config file, with their origin.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::{
    args::Args,
    error::{ConfigError, ErrorList, Origin, excerpt},
    file::{FileContents, Setting, parse},
    names,
    values::Variable,
};

/// Setting with precedence of each variable that a source sets.
///
/// An empty text sets nothing: the variable takes its value from weaker sources, or its default. The admin secret is the
/// exception: if one source sets it to nothing, no other source may replace it.
pub(super) struct Settings {
    values: BTreeMap<&'static str, Setting>,
    /// The config file that was read, and its permission bits.
    pub(super) file: Option<(PathBuf, u32)>,
    /// Config files in the default places that this process may not read, with the error of the operating system.
    pub(super) unreadable: Vec<(PathBuf, String)>,
    /// Unknown variables of the environment that begin with `AA_`.
    pub(super) unknown: Vec<String>,
}

impl Settings {
    pub(super) fn gather(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
        errors: &mut ErrorList,
    ) -> Self {
        let mut stronger = Environment::sort(environment, errors);
        for (variable, value) in args.values() {
            if let Some(text) = value.as_ref().filter(|text| is_setting(variable, text)) {
                stronger.settings.insert(variable, Setting { origin: Origin::Flag, text: text.clone() });
            }
        }
        let mut unreadable = Vec::new();
        let file = match stronger.settings.get(names::CONFIG_PATH) {
            Some(Setting { text, .. }) => errors.keep(open_named(Path::new(text), read)),
            None => errors.keep(open_default(stronger.home.as_deref(), read, &mut unreadable)).flatten(),
        };
        let mut settings = BTreeMap::new();
        if let Some((path, contents)) = &file {
            settings = parse(path, contents, errors);
            settings.retain(|variable, setting| is_setting(variable, &setting.text));
        }
        settings.extend(stronger.settings);
        if !settings.contains_key(names::ADMIN_SECRET) {
            // The secret may be in one of these files: then they are errors, not warnings.
            let needed = unreadable.drain(..).map(|(path, cause)| ConfigError::FileUnreadable { path, cause });
            errors.0.extend(needed);
        }
        let file = file.map(|(path, contents)| (path, contents.mode));
        Self { values: settings, file, unreadable, unknown: stronger.unknown }
    }

    /// Returns every setting with its variable.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        self.values.iter().map(|(variable, setting)| (*variable, setting))
    }

    /// Returns the setting of a variable.
    pub(super) fn find(&self, name: &str) -> Option<&Setting> {
        self.values.get(name)
    }

    /// Returns the value of a variable, or its default.
    pub(super) fn value<T>(&self, variable: &Variable<T>) -> Result<T, ConfigError> {
        let setting = self.find(variable.name);
        let text = setting.map_or(variable.default, |setting| &setting.text);
        (variable.parse)(text).ok_or_else(|| ConfigError::Malformed {
            variable: variable.name,
            origin: setting.map_or(Origin::Default, |setting| setting.origin.clone()),
            value: excerpt(text),
            accepts: variable.accepts,
        })
    }
}

fn is_setting(variable: &str, text: &str) -> bool {
    !text.is_empty() || variable == names::ADMIN_SECRET
}

/// Variables of the environment that begin with `AA_`, and `HOME`.
#[derive(Default)]
struct Environment {
    settings: BTreeMap<&'static str, Setting>,
    unknown: Vec<String>,
    home: Option<PathBuf>,
}

impl Environment {
    fn sort(variables: impl IntoIterator<Item = (OsString, OsString)>, errors: &mut ErrorList) -> Self {
        let mut sorted = Self::default();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            if name == "HOME" && !value.is_empty() {
                sorted.home = Some(value.into());
            } else if let Some(variable) = names::of_variable(name) {
                let text = value.into_string().map_err(|_| ConfigError::NotUnicode { variable });
                if let Some(text) = errors.keep(text).filter(|text| is_setting(variable, text)) {
                    sorted.settings.insert(variable, Setting { origin: Origin::Environment, text });
                }
            } else if !value.is_empty() && name.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("AA_")) {
                match names::suggestion(name) {
                    Some(suggestion) => errors.0.push(ConfigError::Misspelt { name: excerpt(name), suggestion }),
                    None => sorted.unknown.push(excerpt(name)),
                }
            }
        }
        sorted
    }
}

type OpenFile = (PathBuf, FileContents);

/// Reads the file that `AA_CONFIG_PATH` names, which must exist.
fn open_named(path: &Path, read: &dyn Fn(&Path) -> io::Result<FileContents>) -> Result<OpenFile, ConfigError> {
    let contents = read(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            ConfigError::FileMissing { path: path.into() }
        } else {
            ConfigError::FileUnreadable { path: path.into(), cause: error.to_string() }
        }
    })?;
    Ok((path.into(), contents))
}

/// Reads the first file in the default places. One that this process may not read is added to `unreadable`; any other
/// failure is an error, because the settings in that file are for this process.
fn open_default(
    home: Option<&Path>,
    read: &dyn Fn(&Path) -> io::Result<FileContents>,
    unreadable: &mut Vec<(PathBuf, String)>,
) -> Result<Option<OpenFile>, ConfigError> {
    let system = Some(PathBuf::from("/etc/broker/config"));
    let personal = home.map(|home| home.join(".broker/config"));
    for path in [system, personal].into_iter().flatten() {
        match read(&path) {
            Ok(contents) => return Ok(Some((path, contents))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unreadable.push((path, error.to_string())),
            Err(error) => return Err(ConfigError::FileUnreadable { path, cause: error.to_string() }),
        }
    }
    Ok(None)
}
