//! `agentwrit-broker check`: finds what would keep the broker from starting, without starting it.
//!
//! 1. It reads the configuration and reports every error and every warning. The keys in a database file that no broker runs on
//!    are examined as a start does.
//! 2. With a probe it also checks what the configuration names: the signing keys and whether they are those of the database,
//!    the database, the settings on which its brokers must agree, the files of TLS, and the address, which must be free.
//! 3. It changes nothing and makes no file. A probe holds shared locks on the database's files, and the address, for a
//!    moment only.

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use tokio::{net::TcpListener, task::spawn_blocking};

use super::file_checks;
use crate::{
    audit::text::printable,
    config::{Args, Config, SharedStore},
    keys::{BrokerKeys, Entropy, KeyEncryptionKey, OsEntropy, SealedKeys, examine_key_files},
    server::{HealthSocket, Tls},
    store::{self, DatabaseState, Store, StoreError, StoreOptions, directory_of},
};

/// Errors and warnings of a check. Its `Display` has a line for each of them and a last line with their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Checks the configuration of this process; with `probe` also the files and the address that it names.
pub async fn check(args: &Args, probe: bool) -> CheckReport {
    let examined = Config::report_of_process(args);
    let mut report = CheckReport::default();
    examined.warnings.iter().for_each(|warning| report.warning(warning));
    match examined.config {
        Err(errors) => errors.iter().for_each(|error| report.error(error)),
        Ok(config) if probe => report.probe(&config).await,
        Ok(config) if config.shared_store.is_none() => report.probe_key_files(&config),
        Ok(_) => {}
    }
    report
}

impl CheckReport {
    /// Returns true if a start would succeed, as far as the check can determine.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.errors.is_empty()
    }

    async fn probe(&mut self, config: &Config) {
        let process = rustix::process::geteuid().as_raw();
        for warning in file_checks::inspect(config, process) {
            self.warning(&warning);
        }
        let in_use = if let Some(shared) = &config.shared_store {
            self.probe_shared_store(config, shared).await
        } else {
            self.probe_key(&config.signing_key_path);
            self.probe_database(config)
        };
        if let Err(error) = Tls::load(&config.tls) {
            self.error(&error);
        }
        self.probe_address(config.bind, in_use).await;
    }

    fn probe_key(&mut self, path: &Path) {
        match BrokerKeys::exist_in_files(path) {
            Ok(true) => {}
            Ok(false) => self.probe_directory("the signing key", path),
            Err(error) => self.error(&error),
        }
    }

    /// Returns true if a broker runs on the database.
    fn probe_database(&mut self, config: &Config) -> bool {
        let path = &config.db_path;
        match store::probe(path, &config.accept_broken_audit) {
            Ok(DatabaseState::Missing) => self.probe_directory("the database", path),
            Ok(DatabaseState::Verified) => {
                self.probe_access(path);
                self.probe_key_files(config);
            }
            Ok(DatabaseState::Older) => {
                self.probe_access(path);
                self.warning(&format_args!(
                    "`{}` was not verified: the next start brings its schema up to date",
                    path.display()
                ));
            }
            Ok(DatabaseState::InUse) => {
                self.warning(&format_args!("`{}` is in use: a broker runs on it", path.display()));
                return true;
            }
            Err(error) => self.error(&error),
        }
        false
    }

    /// Reports key files that are not those of the database, and what the next start changes because of them.
    fn probe_key_files(&mut self, config: &Config) {
        let rows = match store::probe_keys(&config.db_path) {
            Ok(Some(rows)) => rows,
            Ok(None) => return,
            Err(error) => return self.error(&error),
        };
        match examine_key_files(&config.signing_key_path, &rows) {
            Ok(changes) => changes.iter().for_each(|change| self.warning(change)),
            // A probe reports a fault of the file at the path once.
            Err(error) if !self.errors.contains(&printable(&error.to_string()).into_owned()) => self.error(&error),
            Err(_) => {}
        }
    }

    /// Returns true if a broker of this configuration runs. Other brokers of the database may run too.
    async fn probe_shared_store(&mut self, config: &Config, shared: &SharedStore) -> bool {
        let kek = KeyEncryptionKey::read(&shared.key_encryption_key_path).map_err(|error| self.error(&error)).ok();
        self.probe_directory("the state file", &shared.state_path);
        let (url, accept_broken_audit) = (shared.url.clone(), config.accept_broken_audit.clone());
        let options = StoreOptions { accept_broken_audit, ..StoreOptions::default() };
        let opened = spawn_blocking(move || {
            let is_created = store::has_schema(url.expose())?;
            is_created.then(|| Store::connect(url.expose(), options)).transpose()
        });
        match opened.await {
            Ok(Ok(Some(store))) => {
                if let Some(kek) = kek {
                    self.probe_settings(config, shared, &kek).await;
                    self.probe_sealed_keys(&store, SealedKeys::new(kek, &config.issuer)).await;
                }
                store.close().await;
            }
            Ok(Ok(None)) => self.warning(&"the database of AA_DATABASE_URL has no tables: the start creates them"),
            Ok(Err(error)) => self.error(&error),
            Err(error) => self.error(&error),
        }
        HealthSocket::connect(config.own_file()).await.is_ok()
    }

    /// Reports settings that differ from those of the database's other brokers.
    async fn probe_settings(&mut self, config: &Config, shared: &SharedStore, kek: &KeyEncryptionKey) {
        let (here, url) = (config.cluster_settings(kek), shared.url.clone());
        match spawn_blocking(move || store::recorded_settings(url.expose())).await {
            Ok(Ok(Some(recorded))) => {
                here.conflicts_with(&recorded).iter().for_each(|conflict| self.error(conflict));
                here.deviates_from(&recorded).iter().for_each(|deviation| self.warning(deviation));
            }
            // The first broker records its own.
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.error(&error),
            Err(error) => self.error(&error),
        }
    }

    /// Reports keys that do not open, or are not what their rows say.
    async fn probe_sealed_keys(&mut self, store: &Store, keys: SealedKeys) {
        let entropy: Arc<dyn Entropy> = match OsEntropy::open() {
            Ok(entropy) => Arc::new(entropy),
            Err(error) => return self.error(&error),
        };
        match store.read(|reader| Ok::<_, StoreError>((reader.signing_keys()?, reader.keys_cursor()?))).await {
            // The first broker makes them.
            Ok((rows, _)) if rows.is_empty() => {}
            Ok((rows, keys_cursor)) => {
                for row in rows.iter().filter(|row| row.is_put_back()) {
                    let remedy = "it stays ended; find out who changes the database, then run";
                    let kid = &row.kid;
                    self.warning(&format_args!(
                        "the row of the ended signing key `{kid}` was put back: {remedy} `agentwrit-broker withdraw-key {kid}`"
                    ));
                }
                if let Err(error) = BrokerKeys::from_rows(keys, &rows, keys_cursor, entropy) {
                    self.error(&error);
                }
            }
            Err(error) => self.error(&error),
        }
    }

    /// Reports a missing file that cannot be created.
    fn probe_directory(&mut self, what: &str, path: &Path) {
        let directory = directory_of(path);
        if let Err(error) = accessat(CWD, directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            let (path, directory, error) = (path.display(), directory.display(), io::Error::from(error));
            self.error(&format_args!("{what} `{path}` cannot be made in the directory `{directory}`: {error}"));
        }
    }

    fn probe_access(&mut self, path: &Path) {
        if let Err(error) = accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
            let error = io::Error::from(error);
            self.error(&format_args!("`{}` cannot be read and written: {error}", path.display()));
        }
    }

    /// Reports an address that is in use. If a broker runs, the address is presumably its own.
    async fn probe_address(&mut self, address: SocketAddr, broker_runs: bool) {
        match TcpListener::bind(address).await {
            Ok(_) => {}
            Err(error) if broker_runs && error.kind() == io::ErrorKind::AddrInUse => {
                self.warning(&format_args!("{address} is in use: presumably by the broker that runs"));
            }
            Err(error) => {
                self.error(&format_args!("cannot listen on {address}: {error}; set AA_BIND_ADDRESS and AA_PORT"));
            }
        }
    }

    fn error(&mut self, error: &dyn fmt::Display) {
        self.errors.push(printable(&error.to_string()).into_owned());
    }

    fn warning(&mut self, warning: &dyn fmt::Display) {
        self.warnings.push(printable(&warning.to_string()).into_owned());
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.errors.iter().try_for_each(|error| writeln!(f, "error: {error}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (errors, warnings) = (self.errors.len(), self.warnings.len());
        write!(f, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings))
    }
}
