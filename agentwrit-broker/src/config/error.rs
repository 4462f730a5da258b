//! Errors of a configuration.

use std::{fmt, path::PathBuf};

use crate::keys::AdminSecretError;

/// Reason that the broker does not start. Names the variable and the values that it accepts, and never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The variable does not accept the value.
    #[error("{variable} ({origin}) is `{value}`: it accepts {accepts}")]
    Malformed {
        /// The variable.
        variable: &'static str,
        /// Origin of the value.
        origin: Origin,
        /// Printable excerpt of the value.
        value: String,
        /// Description of accepted values.
        accepts: &'static str,
    },
    /// No source sets the admin secret.
    #[error("AA_ADMIN_SECRET is not set: it accepts {ADMIN_SECRET_ACCEPTS}")]
    AdminSecretMissing,
    /// The admin secret is not accepted.
    #[error("AA_ADMIN_SECRET ({origin}) {reason}: it accepts {ADMIN_SECRET_ACCEPTS}")]
    AdminSecret {
        /// Origin of the value.
        origin: Origin,
        /// Reason.
        reason: AdminSecretError,
    },
    /// The database URL is not accepted. It is not shown because it may hold a password.
    #[error(
        "AA_DATABASE_URL ({origin}) is not a URL of PostgreSQL: it accepts `postgres://USER:PASSWORD@HOST/DATABASE`"
    )]
    DatabaseUrl {
        /// Origin of the value.
        origin: Origin,
    },
    /// A shared database needs a key to seal its keys under.
    #[error(
        "AA_KEY_ENCRYPTION_KEY_PATH is not set: AA_DATABASE_URL requires the path to a file with 32 random bytes there, \
             the same for all brokers of the database; make it once with `(umask 077; openssl rand -hex 32 > FILE)` and \
             keep a copy apart from the database's backups"
    )]
    KeyEncryptionKeyMissing,
    /// The watch of pods needs an API server.
    #[error("AA_KUBERNETES_API_URL is not set: AA_KUBERNETES_WATCH requires the URL of the API server there")]
    KubernetesApiUrlMissing,
    /// The TLS mode needs a file that is not set.
    #[error("{variable} is not set: AA_TLS_MODE `{mode}` requires a path to a PEM file there")]
    TlsPathMissing {
        /// The variable.
        variable: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// A file of TLS is set and the TLS mode is not.
    #[error("{variable} is set but AA_TLS_MODE is not: it accepts `none`, `tls` or `mtls`")]
    TlsModeMissing {
        /// The variable.
        variable: &'static str,
    },
    /// The name of a variable is almost one of this broker's.
    #[error("`{name}` (environment) is not a variable of this broker: did you mean {suggestion}?")]
    Misspelt {
        /// Name in the source.
        name: String,
        /// Most similar name.
        suggestion: &'static str,
    },
    /// The value is not UTF-8.
    #[error("{variable} (environment) is not UTF-8")]
    NotUnicode {
        /// The variable.
        variable: &'static str,
    },
    /// The config file that `AA_CONFIG_PATH` names does not exist.
    #[error("AA_CONFIG_PATH: there is no config file `{}`", path.display())]
    FileMissing {
        /// Configured path.
        path: PathBuf,
    },
    /// The config file cannot be read.
    #[error("the config file `{}` cannot be read: {cause} (AA_CONFIG_PATH names another)", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
    /// Users other than owner and group can open a config file with a secret.
    #[error("the config file `{}` holds {secret} and is open to others (mode {mode:04o}): run `chmod 600` on it, \
             and change the secret if another user may have read it", path.display())]
    FileExposed {
        /// The file.
        path: PathBuf,
        /// Name of the secret.
        secret: &'static str,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is neither a setting nor a comment.
    #[error("line {line} of the config file `{}` is neither `KEY=VALUE` nor a `#` comment", path.display())]
    FileSyntax {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// A key is not known.
    #[error("line {line} of the config file `{}`: `{key}` is not a key: it accepts MODE, ADMIN_SECRET \
             and the AA_ variables but AA_CONFIG_PATH", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Name in the source.
        key: String,
    },
    /// A key is set twice.
    #[error("line {line} of the config file `{}` sets {variable} for the second time", path.display())]
    DuplicateKey {
        /// The file.
        path: PathBuf,
        /// Number of the second line, from 1.
        line: usize,
        /// The variable.
        variable: &'static str,
    },
}

/// All errors of a configuration, at least one. Each is a line of the `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    /// Returns the errors in the order in which the settings are checked.
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

/// Collects errors, so that one does not hide the next.
#[derive(Default)]
pub(super) struct ErrorList(pub(super) Vec<ConfigError>);

impl ErrorList {
    /// Returns the value. Keeps an error.
    pub(super) fn keep<T>(&mut self, checked: Result<T, ConfigError>) -> Option<T> {
        checked.map_err(|error| self.0.push(error)).ok()
    }
}

/// Origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Command line.
    Flag,
    /// Environment.
    Environment,
    /// Config file.
    File {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// Default of the variable.
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

const ADMIN_SECRET_ACCEPTS: &str = "at least 16 characters that are hard to guess (`openssl rand -hex 32` prints some), \
     or a bcrypt hash ($2a$, $2b$, $2y$)";

/// Returns a printable excerpt of a text, so that an error stays one short line.
pub(super) fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        excerpt.push('…');
    }
    excerpt
}
