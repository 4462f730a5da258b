//! What can be wrong with a configuration.

use std::{fmt, path::PathBuf};

use crate::keys::AdminSecretError;

/// Why the broker does not start. Names the variable and what it accepts; never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that its variable does not accept.
    #[error("{variable} ({origin}) is `{value}`: it accepts {accepts}")]
    Malformed {
        /// The variable.
        variable: &'static str,
        /// Where the value stands.
        origin: Origin,
        /// The beginning of the value, fit to be shown.
        value: String,
        /// What would be right.
        accepts: &'static str,
    },
    /// No admin secret anywhere.
    #[error("AA_ADMIN_SECRET is not set: it accepts {ADMIN_SECRET_ACCEPTS}")]
    AdminSecretMissing,
    /// An admin secret that does not do.
    #[error("AA_ADMIN_SECRET ({origin}) {reason}: it accepts {ADMIN_SECRET_ACCEPTS}")]
    AdminSecret {
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        reason: AdminSecretError,
    },
    /// A store that this build does not have. The URL is not shown: it holds a password.
    #[error("AA_DATABASE_URL ({origin}) is not supported by this build: unset it and use AA_DB_PATH")]
    DatabaseUrl {
        /// Where it stands.
        origin: Origin,
    },
    /// TLS without one of its files.
    #[error("{variable} is not set: AA_TLS_MODE `{mode}` requires a path to a PEM file there")]
    TlsPathMissing {
        /// The variable.
        variable: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// A file for TLS, but nothing said about using it.
    #[error("{variable} is set but AA_TLS_MODE is not: it accepts `none`, `tls` or `mtls`")]
    TlsModeMissing {
        /// The variable.
        variable: &'static str,
    },
    /// A variable that is almost one of ours.
    #[error("`{name}` (environment) is not a variable of this broker: {meant} is meant?")]
    Misspelt {
        /// As written.
        name: String,
        /// The one it resembles.
        meant: &'static str,
    },
    /// Bytes that are no text.
    #[error("{variable} (environment) is not UTF-8")]
    NotUnicode {
        /// The variable.
        variable: &'static str,
    },
    /// The config file that was asked for is not there.
    #[error("AA_CONFIG_PATH: there is no config file `{}`", path.display())]
    FileMissing {
        /// As asked for.
        path: PathBuf,
    },
    /// A config file that cannot be read.
    #[error("the config file `{}` cannot be read: {cause} (AA_CONFIG_PATH names another)", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// A config file with the admin secret that others than its owner and group can open.
    #[error("the config file `{}` holds ADMIN_SECRET and is open to others (mode {mode:04o}): run `chmod 600` on it, \
             and change the secret if anybody may have read it", path.display())]
    FileExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line that is neither a setting nor a comment.
    #[error("line {line} of the config file `{}` is neither `KEY=VALUE` nor a `#` comment", path.display())]
    FileSyntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A key that sets nothing.
    #[error("line {line} of the config file `{}`: `{key}` is not a key: it accepts MODE, ADMIN_SECRET \
             and the AA_ variables but AA_CONFIG_PATH", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// As written.
        key: String,
    },
    /// A key that comes twice.
    #[error("line {line} of the config file `{}` sets {variable} for the second time", path.display())]
    DuplicateKey {
        /// The file.
        path: PathBuf,
        /// Of the second one, from 1.
        line: usize,
        /// The variable.
        variable: &'static str,
    },
}

/// Everything that is wrong with a configuration: at least one error, each a line of its own when printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    /// Each error, in the order in which the settings are checked.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "\n" })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects errors, so that one wrong setting does not hide the next.
#[derive(Default)]
pub(super) struct Found(pub(super) Vec<ConfigError>);

impl Found {
    /// The value, unless it is an error.
    pub(super) fn take<T>(&mut self, checked: Result<T, ConfigError>) -> Option<T> {
        checked.map_err(|error| self.0.push(error)).ok()
    }
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In the config file.
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

const ADMIN_SECRET_ACCEPTS: &str = "at least 16 characters that nobody can guess (`openssl rand -hex 32` prints some), \
     or a bcrypt hash ($2a$, $2b$, $2y$)";

/// The beginning of a text, so that an error stays one short line.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}
