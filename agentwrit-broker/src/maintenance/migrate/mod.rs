//! `agentwrit-broker migrate`: moves a broker's records and keys from SQLite to a PostgreSQL database.
//!
//! 1. Everything or nothing: see [`store::migrate`].
//! 2. The signing keys and the nonce secret are sealed into the database, so that tokens and challenges in flight stay valid.
//! 3. The old files are not changed. A broker must not serve them any more: its commits would be missing in the database.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use crate::{
    config::{Args, Config, ConfigErrors, SharedStore},
    domain::StoredKey,
    keys::{self, Entropy, EntropyError, KeyEncryptionKey, KeyEncryptionKeyError, KeyFileError, OsEntropy, SealedKeys},
    store::{self, Copied, MigrationError, OpenError, StoreError, canonical},
};

/// Copies the database and the keys of this configuration to the PostgreSQL database `to`, or that of `AA_DATABASE_URL`.
/// `from` is `sqlite:` and a path, instead of `AA_DB_PATH`.
///
/// # Errors
///
/// [`MigrateError`]. Nothing was copied, except where it names an unknown outcome.
pub async fn migrate(args: &Args, from: Option<&str>, to: Option<&str>) -> Result<Migrated, MigrateError> {
    let mut args = args.clone();
    if let Some(to) = to {
        args.database_url = Some(to.to_owned());
    }
    if let Some(from) = from {
        args.db_path = Some(from.strip_prefix("sqlite:").ok_or(MigrateError::From)?.to_owned());
    }
    let mut config = Config::from_process(&args)?;
    let shared = config.shared_store.take().ok_or(MigrateError::NoTarget)?;
    let copied = spawn_blocking(move || copy(&config, &shared)).await;
    copied.map_err(|error| StoreError::Internal { cause: error.to_string() })?
}

fn copy(config: &Config, shared: &SharedStore) -> Result<Migrated, MigrateError> {
    let database = existing(&config.db_path)?;
    let kek = KeyEncryptionKey::read(&shared.key_encryption_key_path)?;
    let entropy = OsEntropy::open()?;
    let sealed_keys = SealedKeys::new(kek, &config.issuer);
    let make_keys = |rows: &[StoredKey], now| {
        let path = &config.signing_key_path;
        let keys = keys::seal_key_files(path, rows, &sealed_keys, now, &entropy as &dyn Entropy)?;
        keys.ok_or_else(|| MigrateError::NoSigningKey { path: config.signing_key_path.clone() })
    };
    let copied = store::migrate(&database, shared.url.expose(), make_keys).map_err(|error| match error {
        MigrationError::Open(OpenError::Store(error)) => MigrateError::Store(error),
        MigrationError::Open(error) => MigrateError::Open(error),
        MigrationError::NotEmpty => MigrateError::NotEmpty,
        MigrationError::Keys(error) => error,
    })?;
    Ok(Migrated { database, copied })
}

/// Returns the canonical path of the database. Opening a missing one would make it.
fn existing(path: &Path) -> Result<PathBuf, MigrateError> {
    let missing = || MigrateError::Missing { path: std::path::absolute(path).unwrap_or_else(|_| path.into()) };
    let canonical = canonical(path).map_err(|_| missing())?;
    if fs::metadata(&canonical).is_ok_and(|found| found.len() > 0) { Ok(canonical) } else { Err(missing()) }
}

/// Records that were copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Canonical path of the source.
    database: PathBuf,
    copied: Copied,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Copied { trail, epoch, cursor, rows } = &self.copied;
        writeln!(f, "copied: {}", self.database.display())?;
        for (table, count) in rows {
            writeln!(f, "{table}: {count}")?;
        }
        writeln!(f, "audit trail: verified up to event {}, hash {}", trail.sequence, trail.hash)?;
        writeln!(f, "revocation log: epoch {epoch}, cursor {cursor}")?;
        write!(
            f,
            "start the brokers with AA_DATABASE_URL and the same AA_ISSUER, and none on the old database any more: the database \
             lacks what it would record"
        )
    }
}

/// Reason that a migration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The configuration has errors.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// `--from` names no SQLite database.
    #[error("`--from` is `sqlite:` and the path of the database")]
    From,
    /// No target is configured.
    #[error("no database to copy to: give `--to`, or set AA_DATABASE_URL")]
    NoTarget,
    /// There is no source.
    #[error("there is no database `{}`: give `--from`, or set AA_DB_PATH to the one that the broker uses", path.display())]
    Missing {
        /// The absolute path.
        path: PathBuf,
    },
    /// There is no signing key: a new one would invalidate every token.
    #[error("there is no signing key `{}`: set AA_SIGNING_KEY_PATH to the one that the broker uses", path.display())]
    NoSigningKey {
        /// The file.
        path: PathBuf,
    },
    /// The target holds records.
    #[error("the database to copy to is not empty: create another, or remove its tables if they are of no use")]
    NotEmpty,
    /// The signing key can't be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The key under which the keys are sealed can't be used.
    #[error(transparent)]
    KeyEncryptionKey(#[from] KeyEncryptionKeyError),
    /// The operating system has no random number generator.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A database can't be opened, or its audit trail is broken.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A database failed. If the outcome of the commit is unknown, the same command finds the target empty or not.
    #[error(transparent)]
    Store(#[from] StoreError),
}
