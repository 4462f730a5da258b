//! The configuration: as written, then checked and typed.
//!
//! 1. Flags win over the environment, which wins over the config file, which wins over the defaults.
//! 2. The config file is the one that `AA_CONFIG_PATH` names, which must then exist; else the first of
//!    `/etc/broker/config` and `~/.broker/config` that exists; else none.
//! 3. A value that is not accepted stops the start with an error that names its variable and what it accepts. So does
//!    a name that is almost one of ours: a misspelt `AA_TLS_MODE` must not serve plain HTTP. A name further off is
//!    only pointed out, because the environment is not ours alone.
//! 4. An empty value is malformed, unless "unset" is a value of that variable.
//! 5. A config file that holds the admin secret must be readable by its owner only.
//!
//! Flags are visible to every user of the machine: use the environment or the file for the admin secret.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use agentwrit_verify::{TrustDomain, audit::BreakId};
use ipnet::IpNet;

pub use self::{
    args::{Args, Command},
    error::{ConfigError, Origin},
    file::{FileContents, read_file},
    tls::TlsConfig,
    values::{LogFormat, LogLevel, Mode},
    warning::Warning,
};
use self::{values as accepted, written::Written};
pub use crate::budgets::SessionBudget;
use crate::secret::{AdminSecret, Secret};

mod args;
mod error;
mod file;
mod names;
mod tls;
mod values;
mod warning;
mod written;

/// What the broker runs with. Every value is valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// `AA_ADMIN_SECRET`
    pub admin_secret: AdminSecret,
    /// `AA_BIND_ADDRESS` and `AA_PORT`; port 0 takes any free one.
    pub bind: SocketAddr,
    /// `AA_LOG_LEVEL`
    pub log_level: LogLevel,
    /// `AA_LOG_FORMAT`
    pub log_format: LogFormat,
    /// `AA_TRUST_DOMAIN`
    pub trust_domain: TrustDomain,
    /// `AA_ISSUER`
    pub issuer: String,
    /// `AA_AUDIENCE`
    pub audience: Option<String>,
    /// `AA_DEFAULT_TTL` in seconds, never above [`max_ttl`](Self::max_ttl).
    pub default_ttl: u64,
    /// `AA_MAX_TTL` in seconds; no ceiling if `None`.
    pub max_ttl: Option<u64>,
    /// `AA_ADMIN_TOKEN_TTL` in seconds.
    pub admin_token_ttl: u64,
    /// `AA_APP_TOKEN_TTL` in seconds: the `token_ttl` of an app that states none.
    pub app_token_ttl: u64,
    /// `AA_SESSION_BUDGET`; none is kept if `None`.
    pub session_budget: Option<SessionBudget>,
    /// `AA_DB_PATH`
    pub db_path: PathBuf,
    /// `AA_SIGNING_KEY_PATH`
    pub signing_key_path: PathBuf,
    /// `AA_TLS_MODE` and the paths that it needs.
    pub tls: TlsConfig,
    /// `AA_TRUSTED_PROXIES`
    pub trusted_proxies: Vec<IpNet>,
    /// `AA_SEED_TOKENS`
    pub seed_tokens: bool,
    /// `AA_ACCEPT_BROKEN_AUDIT`
    pub accept_broken_audit: Vec<BreakId>,
    /// `MODE` of the config file.
    pub mode: Option<Mode>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
    /// What is legal but hardly meant: to be logged when the log is open.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// The configuration of this process.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the variable and what it accepts.
    pub fn from_process(args: &Args) -> Result<Self, ConfigError> {
        Self::load(args, std::env::vars_os(), &read_file)
    }

    /// For tests and examples: the defaults, a free port of the loopback interface, and key and database in `directory`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the secret isn't accepted: see `AA_ADMIN_SECRET`.
    pub fn for_development(directory: &Path, admin_secret: &str) -> Result<Self, ConfigError> {
        let setting = |name: &str, value: &std::ffi::OsStr| (OsString::from(name), value.to_owned());
        let environment = [
            setting(names::ADMIN_SECRET, admin_secret.as_ref()),
            setting(accepted::PORT.name, "0".as_ref()),
            setting(accepted::DB_PATH.name, directory.join("data.db").as_os_str()),
            setting(accepted::SIGNING_KEY_PATH.name, directory.join("signing.key").as_os_str()),
        ];
        let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
        Self::load(&Args::default(), environment, &no_file)
    }

    /// The configuration that `args`, `environment` and the files behind `read` amount to.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the variable and what it accepts.
    pub fn load(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
    ) -> Result<Self, ConfigError> {
        let written = Written::gather(args, environment, read)?;
        let mut config = Self::check(&written)?;
        config.warnings = Warning::all(&config, &written);
        Ok(config)
    }

    fn check(written: &Written) -> Result<Self, ConfigError> {
        if let Some(setting) = written.find(names::DATABASE_URL).filter(|setting| !setting.text.is_empty()) {
            return Err(ConfigError::DatabaseUrl { origin: setting.origin.clone() });
        }
        let address: IpAddr = written.value(&accepted::BIND_ADDRESS)?;
        let trust_domain = written.value(&accepted::TRUST_DOMAIN)?;
        let max_ttl = written.value(&accepted::MAX_TTL)?;
        let default_ttl = written.value(&accepted::DEFAULT_TTL)?;
        Ok(Self {
            admin_secret: admin_secret(written)?,
            bind: SocketAddr::new(address, written.value(&accepted::PORT)?),
            log_level: written.value(&accepted::LOG_LEVEL)?,
            log_format: written.value(&accepted::LOG_FORMAT)?,
            issuer: written.value(&accepted::ISSUER)?.unwrap_or_else(|| format!("https://{trust_domain}")),
            trust_domain,
            audience: written.value(&accepted::AUDIENCE)?,
            default_ttl: max_ttl.map_or(default_ttl, |ceiling| default_ttl.min(ceiling)),
            max_ttl,
            admin_token_ttl: written.value(&accepted::ADMIN_TOKEN_TTL)?,
            app_token_ttl: written.value(&accepted::APP_TOKEN_TTL)?,
            session_budget: written.value(&accepted::SESSION_BUDGET)?,
            db_path: written.value(&accepted::DB_PATH)?,
            signing_key_path: written.value(&accepted::SIGNING_KEY_PATH)?,
            tls: TlsConfig::check(written)?,
            trusted_proxies: written.value(&accepted::TRUSTED_PROXIES)?,
            seed_tokens: written.value(&accepted::SEED_TOKENS)?,
            accept_broken_audit: written.value(&accepted::ACCEPT_BROKEN_AUDIT)?,
            mode: written.value(&accepted::MODE)?,
            file: written.file.clone(),
            warnings: Vec::new(),
        })
    }
}

fn admin_secret(written: &Written) -> Result<AdminSecret, ConfigError> {
    let setting = written.find(names::ADMIN_SECRET).ok_or(ConfigError::AdminSecretMissing)?;
    AdminSecret::parse(&Secret::new(setting.text.clone()))
        .map_err(|reason| ConfigError::AdminSecret { origin: setting.origin.clone(), reason })
}

#[cfg(test)]
mod tests;
