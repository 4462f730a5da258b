//! The configuration: as written, then checked and typed.
//!
//! 1. Flags win over the environment, which wins over the config file, which wins over the defaults.
//! 2. The config file is the one that `AA_CONFIG_PATH` names, which must then exist; else the first of
//!    `/etc/broker/config` and `~/.broker/config` that exists; else none.
//! 3. A value that is not accepted stops the start with an error that names its variable and what it accepts. So does
//!    a name that is almost one of ours: a misspelt `AA_TLS_MODE` must not serve plain HTTP. A name further off is
//!    only pointed out, because the environment is not ours alone. All errors are reported together.
//! 4. An empty value is none: the variable is unset, as Compose and shells pass it. Only an empty admin secret is an error.
//! 5. A config file that holds the admin secret must be closed to others than its owner and group.
//! 6. A config file in the usual places that this process may not read is an error only when the admin secret is set
//!    nowhere else.
//!
//! Flags are visible to every user of the machine: use the environment or the file for the admin secret.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use agentwrit_verify::{TrustDomain, audit::ChainBreakId};
use ipnet::IpNet;

pub use self::{
    args::{Args, Command},
    error::{ConfigError, ConfigErrors, Origin},
    file::{FileContents, read_file},
    tls::TlsConfig,
    values::Mode,
    warning::Warning,
};
use self::{error::Found, values as accepted, written::Written};
use crate::keys::{AdminSecret, Secret};
pub use crate::{
    limits::budgets::SessionBudget,
    telemetry::log::{LogFormat, LogLevel},
};

mod args;
pub mod banner;
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
    pub accept_broken_audit: Vec<ChainBreakId>,
    /// `MODE` of the config file.
    pub mode: Option<Mode>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
    /// What is legal but hardly meant: to be logged when the log is open.
    pub warnings: Vec<Warning>,
}

/// What an examination of the settings found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The configuration, or everything that is wrong with it.
    pub config: Result<Config, ConfigErrors>,
    /// What is legal but hardly meant, also beside errors.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// The configuration of this process.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`], each of which names its variable and what that accepts.
    pub fn from_process(args: &Args) -> Result<Self, ConfigErrors> {
        Self::examine_process(args).config
    }

    /// The configuration of this process, or its errors, and its warnings in either case.
    #[must_use]
    pub fn examine_process(args: &Args) -> Examined {
        Self::examine(args, std::env::vars_os(), &read_file)
    }

    /// For tests and examples: the defaults, a free port of the loopback interface, and key and database in `directory`.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] when the secret isn't accepted: see `AA_ADMIN_SECRET`.
    pub fn for_development(directory: &Path, admin_secret: &str) -> Result<Self, ConfigErrors> {
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
    /// [`ConfigErrors`], each of which names its variable and what that accepts.
    pub fn load(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
    ) -> Result<Self, ConfigErrors> {
        Self::examine(args, environment, read).config
    }

    fn examine(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
    ) -> Examined {
        let mut found = Found::default();
        let written = Written::gather(args, environment, read, &mut found);
        let warnings = Warning::all(&written);
        let config = Self::check(&written, &mut found).filter(|_| found.0.is_empty());
        let config = config.map(|config| Self { warnings: warnings.clone(), ..config });
        Examined { config: config.ok_or_else(|| ConfigErrors::new(found.0)), warnings }
    }

    /// Checks every setting. Whatever is wrong goes to `found`; the result is `None` when something is.
    fn check(written: &Written, found: &mut Found) -> Option<Self> {
        if let Some(setting) = written.find(names::DATABASE_URL) {
            found.0.push(ConfigError::DatabaseUrl { origin: setting.origin.clone() });
        }
        let admin_secret = found.take(admin_secret(written));
        let address: Option<IpAddr> = found.take(written.value(&accepted::BIND_ADDRESS));
        let port = found.take(written.value(&accepted::PORT));
        let log_level = found.take(written.value(&accepted::LOG_LEVEL));
        let log_format = found.take(written.value(&accepted::LOG_FORMAT));
        let trust_domain = found.take(written.value(&accepted::TRUST_DOMAIN));
        let issuer = found.take(written.value(&accepted::ISSUER));
        let audience = found.take(written.value(&accepted::AUDIENCE));
        let default_ttl = found.take(written.value(&accepted::DEFAULT_TTL));
        let max_ttl = found.take(written.value(&accepted::MAX_TTL));
        let admin_token_ttl = found.take(written.value(&accepted::ADMIN_TOKEN_TTL));
        let app_token_ttl = found.take(written.value(&accepted::APP_TOKEN_TTL));
        let session_budget = found.take(written.value(&accepted::SESSION_BUDGET));
        let db_path = found.take(written.value(&accepted::DB_PATH));
        let signing_key_path = found.take(written.value(&accepted::SIGNING_KEY_PATH));
        let tls = TlsConfig::check(written, found);
        let trusted_proxies = found.take(written.value(&accepted::TRUSTED_PROXIES));
        let seed_tokens = found.take(written.value(&accepted::SEED_TOKENS));
        let accept_broken_audit = found.take(written.value(&accepted::ACCEPT_BROKEN_AUDIT));
        let mode = found.take(written.value(&accepted::MODE));
        let (trust_domain, default_ttl, max_ttl) = (trust_domain?, default_ttl?, max_ttl?);
        Some(Self {
            admin_secret: admin_secret?,
            bind: SocketAddr::new(address?, port?),
            log_level: log_level?,
            log_format: log_format?,
            issuer: issuer?.unwrap_or_else(|| format!("https://{trust_domain}")),
            trust_domain,
            audience: audience?,
            default_ttl: max_ttl.map_or(default_ttl, |ceiling| default_ttl.min(ceiling)),
            max_ttl,
            admin_token_ttl: admin_token_ttl?,
            app_token_ttl: app_token_ttl?,
            session_budget: session_budget?,
            db_path: db_path?,
            signing_key_path: signing_key_path?,
            tls: tls?,
            trusted_proxies: trusted_proxies?,
            seed_tokens: seed_tokens?,
            accept_broken_audit: accept_broken_audit?,
            mode: mode?,
            file: written.file.as_ref().map(|(path, _)| path.clone()),
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
