//! Configuration: read as text from its sources, then checked and typed.
//!
//! 1. Flags win over the environment, which wins over the config file, which wins over the defaults.
//! 2. The config file is the one that `AA_CONFIG_PATH` names, which must then exist; else the first of
//!    `/etc/broker/config` and `~/.broker/config` that exists; else none.
//! 3. A value that is not accepted stops the start with an error that names its variable and what it accepts. So does
//!    a name that is almost that of a variable: a misspelt `AA_TLS_MODE` must not serve plain HTTP. A less similar name is a
//!    warning, because other programs share the environment. All errors are reported together.
//! 4. An empty value leaves the variable unset, as Compose and shells pass it. Only an empty admin secret is an error.
//! 5. A config file that holds the admin secret or the database URL must not be readable by users other than its owner and group.
//! 6. A config file in the default places that this process may not read is an error only if no other source
//!    sets the admin secret.
//!
//! Flags are visible to every user of the machine: use the environment or the file for secrets.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use agentwrit_verify::{TrustDomain, audit::ChainBreakId, proof::ExternalUrl};
use ipnet::IpNet;

pub use self::{
    args::{Args, Command},
    error::{ConfigError, ConfigErrors, Origin},
    file::{FileContents, read_file},
    shared_store::{DatabaseUrl, SharedStore},
    tls::TlsConfig,
    values::{Mode, OnLostHistory, SenderConstrained},
    warning::Warning,
};
use self::{error::ErrorList, sources::Settings, values as variables};
pub use crate::{
    attestation::AttestationSettings,
    limits::budgets::SessionBudget,
    telemetry::log::{LogFormat, LogLevel},
};
use crate::{
    domain::ClusterSettings,
    keys::{AdminSecret, KeyEncryptionKey, Secret},
};

mod args;
mod attestation;
pub mod banner;
mod error;
mod file;
mod names;
mod shared_store;
mod sources;
mod tls;
mod values;
mod warning;

/// Configuration of a broker. Every value is valid.
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
    /// `AA_SENDER_CONSTRAINED`
    pub sender_constrained: SenderConstrained,
    /// `AA_EXTERNAL_URL`; the address of the listener if empty.
    pub external_urls: Vec<ExternalUrl>,
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
    /// `AA_DB_PATH`, unused with [`shared_store`](Self::shared_store).
    pub db_path: PathBuf,
    /// `AA_DATABASE_URL` and its settings.
    pub shared_store: Option<SharedStore>,
    /// `AA_SIGNING_KEY_PATH`
    pub signing_key_path: PathBuf,
    /// `AA_KEY_ROTATION`; the broker begins no rotation by itself if `None`.
    pub key_rotation: Option<Duration>,
    /// `AA_KEY_PREPARE_FOR`
    pub key_prepare_for: Duration,
    /// `AA_ATTESTATION_PRIVATE_HOSTS`, and `AA_KUBERNETES_API_URL` with its settings.
    pub attestation: AttestationSettings,
    /// `AA_TLS_MODE` and the paths that it needs.
    pub tls: TlsConfig,
    /// `AA_TRUSTED_PROXIES`
    pub trusted_proxies: Vec<IpNet>,
    /// `AA_SEED_TOKENS`
    pub seed_tokens: bool,
    /// `AA_CONSOLE`
    pub console: bool,
    /// `AA_ACCEPT_BROKEN_AUDIT`
    pub accept_broken_audit: Vec<ChainBreakId>,
    /// `MODE` of the config file.
    pub mode: Option<Mode>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
    /// Warnings, to be logged once the log is open.
    pub warnings: Vec<Warning>,
    /// Variables that are set and that the store in use does not need, to be logged likewise.
    pub unused: Vec<&'static str>,
}

/// Result of reading the settings.
#[derive(Clone, Debug)]
pub struct ConfigReport {
    /// Configuration, or all of its errors.
    pub config: Result<Config, ConfigErrors>,
    /// Warnings, also if there are errors.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads the configuration of this process.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`], each of which names its variable and the values that it accepts.
    pub fn from_process(args: &Args) -> Result<Self, ConfigErrors> {
        Self::report_of_process(args).config
    }

    /// Reads the configuration of this process, with its warnings even if there are errors.
    #[must_use]
    pub fn report_of_process(args: &Args) -> ConfigReport {
        Self::report(args, std::env::vars_os(), &read_file)
    }

    /// Reads the database URL of this process, for commands that need nothing else. None if there is none.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] of the sources and of the URL.
    pub fn database_url_of_process(args: &Args) -> Result<Option<DatabaseUrl>, ConfigErrors> {
        let mut errors = ErrorList::default();
        let settings = Settings::gather(args, std::env::vars_os(), &read_file, &mut errors);
        let url = DatabaseUrl::check(&settings).map(|url| errors.keep(url));
        if errors.0.is_empty() { Ok(url.flatten()) } else { Err(ConfigErrors::new(errors.0)) }
    }

    /// Returns the defaults with a free port of the loopback interface, and key and database in `directory`: for tests and
    /// examples.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] if the secret is not accepted: see `AA_ADMIN_SECRET`.
    pub fn for_development(directory: &Path, admin_secret: &str) -> Result<Self, ConfigErrors> {
        let setting = |name: &str, value: &std::ffi::OsStr| (OsString::from(name), value.to_owned());
        let environment = [
            setting(names::ADMIN_SECRET, admin_secret.as_ref()),
            setting(variables::PORT.name, "0".as_ref()),
            setting(variables::DB_PATH.name, directory.join("data.db").as_os_str()),
            setting(variables::SIGNING_KEY_PATH.name, directory.join("signing.key").as_os_str()),
        ];
        let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
        Self::load(&Args::default(), environment, &no_file)
    }

    /// Reads the configuration from `args`, `environment` and the files that `read` returns.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`], each of which names its variable and the values that it accepts.
    pub fn load(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
    ) -> Result<Self, ConfigErrors> {
        Self::report(args, environment, read).config
    }

    fn report(
        args: &Args,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        read: &dyn Fn(&Path) -> io::Result<FileContents>,
    ) -> ConfigReport {
        let mut errors = ErrorList::default();
        let settings = Settings::gather(args, environment, read, &mut errors);
        let warnings = Warning::all(&settings);
        let config = Self::check(&settings, &mut errors).filter(|_| errors.0.is_empty());
        let config = config.map(|config| Self { warnings: warnings.clone(), ..config });
        ConfigReport { config: config.ok_or_else(|| ConfigErrors::new(errors.0)), warnings }
    }

    /// Checks every setting. Adds errors to `errors`; the result is `None` if there are any.
    fn check(settings: &Settings, errors: &mut ErrorList) -> Option<Self> {
        let admin_secret = errors.keep(admin_secret(settings));
        let address: Option<IpAddr> = errors.keep(settings.value(&variables::BIND_ADDRESS));
        let port = errors.keep(settings.value(&variables::PORT));
        let log_level = errors.keep(settings.value(&variables::LOG_LEVEL));
        let log_format = errors.keep(settings.value(&variables::LOG_FORMAT));
        let trust_domain = errors.keep(settings.value(&variables::TRUST_DOMAIN));
        let issuer = errors.keep(settings.value(&variables::ISSUER));
        let audience = errors.keep(settings.value(&variables::AUDIENCE));
        let sender_constrained = errors.keep(settings.value(&variables::SENDER_CONSTRAINED));
        let external_urls = errors.keep(settings.value(&variables::EXTERNAL_URL));
        let default_ttl = errors.keep(settings.value(&variables::DEFAULT_TTL));
        let max_ttl = errors.keep(settings.value(&variables::MAX_TTL));
        let admin_token_ttl = errors.keep(settings.value(&variables::ADMIN_TOKEN_TTL));
        let app_token_ttl = errors.keep(settings.value(&variables::APP_TOKEN_TTL));
        let session_budget = errors.keep(settings.value(&variables::SESSION_BUDGET));
        let db_path = errors.keep(settings.value(&variables::DB_PATH));
        let signing_key_path = errors.keep(settings.value(&variables::SIGNING_KEY_PATH));
        let key_rotation = errors.keep(settings.value(&variables::KEY_ROTATION));
        let key_prepare_for = errors.keep(settings.value(&variables::KEY_PREPARE_FOR));
        let shared_store = SharedStore::check(settings, errors);
        let attestation = attestation::check(settings, errors);
        let tls = TlsConfig::check(settings, errors);
        let trusted_proxies = errors.keep(settings.value(&variables::TRUSTED_PROXIES));
        let seed_tokens = errors.keep(settings.value(&variables::SEED_TOKENS));
        let console = errors.keep(settings.value(&variables::CONSOLE));
        let accept_broken_audit = errors.keep(settings.value(&variables::ACCEPT_BROKEN_AUDIT));
        let mode = errors.keep(settings.value(&variables::MODE));
        let (trust_domain, default_ttl, max_ttl) = (trust_domain?, default_ttl?, max_ttl?);
        Some(Self {
            admin_secret: admin_secret?,
            bind: SocketAddr::new(address?, port?),
            log_level: log_level?,
            log_format: log_format?,
            issuer: issuer?.unwrap_or_else(|| format!("https://{trust_domain}")),
            trust_domain,
            audience: audience?,
            sender_constrained: sender_constrained?,
            external_urls: external_urls?,
            default_ttl: max_ttl.map_or(default_ttl, |ceiling| default_ttl.min(ceiling)),
            max_ttl,
            admin_token_ttl: admin_token_ttl?,
            app_token_ttl: app_token_ttl?,
            session_budget: session_budget?,
            db_path: db_path?,
            shared_store: shared_store?,
            signing_key_path: signing_key_path?,
            key_rotation: key_rotation?,
            key_prepare_for: key_prepare_for?,
            attestation: attestation?,
            tls: tls?,
            trusted_proxies: trusted_proxies?,
            seed_tokens: seed_tokens?,
            console: console?,
            accept_broken_audit: accept_broken_audit?,
            mode: mode?,
            file: settings.file.as_ref().map(|(path, _)| path.clone()),
            warnings: Vec::new(),
            unused: [SharedStore::unused(settings), attestation::unused(settings)].concat(),
        })
    }

    /// Returns the settings on which the brokers of a database must agree.
    pub(crate) fn cluster_settings(&self, kek: &KeyEncryptionKey) -> ClusterSettings {
        ClusterSettings {
            issuer: self.issuer.clone(),
            trust_domain: self.trust_domain.to_string(),
            audience: self.audience.clone(),
            max_ttl: self.max_ttl,
            sender_constrained: self.sender_constrained.as_str().to_owned(),
            key_rotation: self.key_rotation.map(|period| period.as_secs()),
            key_prepare_for: self.key_prepare_for.as_secs(),
            admin_secret: kek.digest("agentwrit-admin-secret-v1", self.admin_secret.stored_form()),
        }
    }

    /// Returns true if clients reach this broker by TLS that ends before it.
    pub(crate) fn is_behind_https(&self) -> bool {
        let is_https = |url: &ExternalUrl| url.as_str().starts_with("https://");
        !self.external_urls.is_empty() && self.external_urls.iter().all(is_https)
    }

    /// Returns the file of this broker alone, beside which its health socket is: the state file with a shared store, else the
    /// database.
    #[must_use]
    pub fn own_file(&self) -> &Path {
        self.shared_store.as_ref().map_or(&self.db_path, |shared| &shared.state_path)
    }
}

fn admin_secret(settings: &Settings) -> Result<AdminSecret, ConfigError> {
    let setting = settings.find(names::ADMIN_SECRET).ok_or(ConfigError::AdminSecretMissing)?;
    AdminSecret::parse(&Secret::new(setting.text.clone()))
        .map_err(|reason| ConfigError::AdminSecret { origin: setting.origin.clone(), reason })
}

#[cfg(test)]
mod tests;
