//! `agentwrit-broker withdraw-key`: withdraws keys in the database itself, when no broker starts with them or none is to.
//!
//! 1. It opens no key that is withdrawn, so that it works whatever is wrong with that key's file or row.
//! 2. Afterwards one key is active: the one that was, the prepared key that was made first and opens, or a new one. If the file
//!    of a new one can't be made, none is active, and the next start makes one.
//! 3. Brokers on a shared database may run meanwhile: they read the change as one of another broker. The lock of a database file
//!    keeps the command and a broker apart.
//! 4. A key-encryption key that is not that of the database is rejected: no broker would open the new key.

use std::{fmt, sync::Arc};

use agentwrit_verify::{Subject, UnixTime};
use tokio::task::spawn_blocking;

use super::restore::{OnDatabase, RestoreError, open};
use crate::{
    audit::{EventType, NewEvent},
    config::{Config, SharedStore},
    domain::{KeyPurpose, KeyState, StoredKey},
    keys::{
        Custody, CustodyError, Entropy, EntropyError, KeyEncryptionKey, KeyEncryptionKeyError, KeyFiles, OsEntropy,
        SealedKeys,
    },
    store::{self, Store, StoreError, Tx},
};

/// Withdraws the keys with these ids in the database of the configuration: tokens that they signed are rejected. The events have
/// the reason.
///
/// # Errors
///
/// [`WithdrawKeyError`], and nothing was done.
pub async fn withdraw_keys(
    config: &Config,
    kids: &[String],
    reason: Option<&str>,
) -> Result<OnDatabase<WithdrawnKeys>, WithdrawKeyError> {
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy::open()?);
    let custody = match &config.shared_store {
        Some(shared) => of_shared_store(config, shared, Arc::clone(&entropy)).await?,
        None => Opened { custody: Custody::of_files(KeyFiles::at(&config.signing_key_path), entropy), is_known: true },
    };
    let (store, database) = open(config).await?;
    let withdrawn = withdraw(&store, custody, kids, reason).await;
    store.close().await;
    withdrawn.map(|change| OnDatabase { database, change })
}

/// Custody of the keys, and whether its key-encryption key is known to be that of the database.
struct Opened {
    custody: Custody,
    is_known: bool,
}

async fn of_shared_store(
    config: &Config,
    shared: &SharedStore,
    entropy: Arc<dyn Entropy>,
) -> Result<Opened, WithdrawKeyError> {
    let kek = KeyEncryptionKey::read(&shared.key_encryption_key_path)?;
    let (here, url) = (config.cluster_settings(&kek), shared.url.clone());
    let recorded = spawn_blocking(move || store::recorded_settings(url.expose())).await;
    let recorded = recorded.map_err(|error| StoreError::Internal { cause: error.to_string() })?;
    let Some(recorded) = recorded.map_err(RestoreError::from)? else { return Err(RestoreError::EmptyShared.into()) };
    if let Some(conflict) = here.conflicts_with(&recorded).first() {
        return Err(WithdrawKeyError::Settings { conflict: conflict.to_string() });
    }
    let custody = Custody::of_sealed_keys(SealedKeys::new(kek, &config.issuer), entropy);
    Ok(Opened { custody, is_known: here.admin_secret == recorded.admin_secret })
}

async fn withdraw(
    store: &Store,
    opened: Opened,
    kids: &[String],
    reason: Option<&str>,
) -> Result<WithdrawnKeys, WithdrawKeyError> {
    let reason = reason.map(str::to_owned);
    let (custody, kids, is_known) = (Arc::new(opened.custody), kids.to_vec(), opened.is_known);
    let of_job = Arc::clone(&custody);
    let (done, rows) = store
        .transact(move |tx| {
            let rows = tx.signing_keys()?;
            if !is_known && !of_job.opens_any(&rows) {
                return Err(WithdrawKeyError::WrongKey);
            }
            let withdrawal = Withdrawal { custody: &of_job, now: tx.now(), cursor: 0, reason: reason.as_deref() };
            let mut done = withdrawal.run(tx, &rows, &kids)?;
            let rows = tx.signing_keys()?;
            if done.without_active.is_none() {
                done.unusable = of_job.open(&rows, None).err();
            }
            Ok((done, rows))
        })
        .await?;
    custody.settle(&rows);
    Ok(done)
}

struct Withdrawal<'a> {
    custody: &'a Custody,
    now: UnixTime,
    cursor: u64,
    reason: Option<&'a str>,
}

impl Withdrawal<'_> {
    fn run(mut self, tx: &mut Tx<'_>, rows: &[StoredKey], kids: &[String]) -> Result<WithdrawnKeys, WithdrawKeyError> {
        if rows.is_empty() {
            return Err(WithdrawKeyError::NoKeys);
        }
        if let Some(kid) = kids.iter().find(|kid| !rows.iter().any(|row| row.kid == **kid)) {
            return Err(WithdrawKeyError::Unknown { kid: kid.clone() });
        }
        let is_named = |row: &&StoredKey| kids.contains(&row.kid);
        let named: Vec<&StoredKey> = rows.iter().filter(is_named).collect();
        let left: Vec<&StoredKey> = rows.iter().filter(|row| !is_named(row)).collect();
        let is_in_row = |row: &&StoredKey| row.state != KeyState::Withdrawn || row.is_put_back();
        let ended: Vec<&StoredKey> = named.iter().copied().filter(is_in_row).collect();
        let has_active = |purpose| left.iter().any(|row| row.purpose == purpose && row.state == KeyState::Active);
        let lacks_token_key = !has_active(KeyPurpose::Token);
        let lacks_nonce_key =
            named.iter().any(|row| row.purpose == KeyPurpose::Nonce) && !has_active(KeyPurpose::Nonce);
        let mut done = WithdrawnKeys {
            withdrawn: Vec::new(),
            activated: None,
            others: Vec::new(),
            without_active: None,
            unusable: None,
        };
        if !ended.is_empty() || lacks_token_key || lacks_nonce_key {
            self.cursor = tx.advance_cursor()?;
        }
        for row in ended {
            self.put(tx, row, StoredKey { state: KeyState::Withdrawn, activates_at: None, ..row.clone() })?;
            done.withdrawn.push(row.kid.clone());
        }
        if lacks_token_key {
            match self.activate_next(tx, rows, &left) {
                Ok(kid) => done.activated = Some(kid),
                // The withdrawal depends on no file.
                Err(WithdrawKeyError::Custody(cause @ CustodyError::File(_))) if !done.withdrawn.is_empty() => {
                    done.without_active = Some(cause);
                }
                Err(error) => return Err(error),
            }
        }
        if lacks_nonce_key {
            let key = self.custody.new_nonce_key(self.now)?;
            self.put(tx, &key, key.clone())?;
        }
        let others = left.iter().filter(|row| row.state == KeyState::Active && row.purpose == KeyPurpose::Token);
        done.others = others.map(|row| row.kid.clone()).collect();
        Ok(done)
    }

    fn activate_next(
        &self,
        tx: &mut Tx<'_>,
        rows: &[StoredKey],
        left: &[&StoredKey],
    ) -> Result<String, WithdrawKeyError> {
        let unusable = self.custody.unusable(rows);
        let may_sign = |row: &&&StoredKey| {
            row.purpose == KeyPurpose::Token
                && row.state == KeyState::Prepared
                && unusable.iter().all(|key| key.kid != row.kid)
        };
        let next = match left.iter().filter(may_sign).min_by_key(|row| (row.created_at, &row.kid)) {
            Some(prepared) => (*prepared).clone(),
            // The command ends: a key that is in memory only would be lost.
            None => self.custody.new_key(rows, self.now)?,
        };
        let activated_at = Some(self.now);
        let after = StoredKey { state: KeyState::Active, activates_at: None, activated_at, ..next.clone() };
        self.put(tx, &next, after)?;
        Ok(next.kid)
    }

    /// Puts the row of a key that changed, with its event. A nonce key is no signing key, and has an event when it ends.
    fn put(&self, tx: &mut Tx<'_>, before: &StoredKey, after: StoredKey) -> Result<(), WithdrawKeyError> {
        let after = StoredKey { changed_at: self.now, cursor: self.cursor, ..after };
        let event = match (after.state, after.purpose) {
            (KeyState::Active, KeyPurpose::Token) => Some((EventType::KeyActivated, "signing key activated")),
            (KeyState::Active, KeyPurpose::Nonce) => None,
            (_, KeyPurpose::Token) => Some((EventType::KeyWithdrawn, "signing key withdrawn")),
            (_, KeyPurpose::Nonce) => Some((EventType::KeyWithdrawn, "nonce key withdrawn")),
        };
        if let Some((event_type, detail)) = event {
            let event = NewEvent::success(event_type, self.now, Subject::Admin, detail).resource(&after.kid);
            let event = event.word("by", "withdraw-key");
            tx.append(match self.reason {
                Some(reason) => event.word("reason", reason),
                None => event,
            })?;
        }
        tx.put_signing_key(&self.custody.with_state(before, after)?)?;
        Ok(())
    }
}

/// Keys that were withdrawn, and those that sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawnKeys {
    /// Ids of the keys that are withdrawn now and were not before, or whose rows had been put back.
    pub withdrawn: Vec<String>,
    /// Id of the key that signs in place of a withdrawn one.
    pub activated: Option<String>,
    /// Ids of other active keys: one, or the broker does not start.
    pub others: Vec<String>,
    /// Reason that no key is active: the file of a new one can't be made.
    pub without_active: Option<CustodyError>,
    /// Reason that no broker starts with the keys that are left.
    pub unusable: Option<CustodyError>,
}

impl fmt::Display for WithdrawnKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.withdrawn.as_slice() {
            [] => f.write_str("the keys were withdrawn before")?,
            kids => write!(f, "withdrawn: {}", kids.join(", "))?,
        }
        if let Some(cause) = &self.without_active {
            return write!(
                f,
                "\nwarning: no key is active, since the file of a new one cannot be made: {cause}; make the directory of the key \
                 files writable, remove the file at AA_SIGNING_KEY_PATH, and start the broker, which makes a key"
            );
        }
        let active: Vec<&str> = self.activated.iter().chain(&self.others).map(String::as_str).collect();
        write!(f, "\nactive: {}", active.join(", "))?;
        if active.len() > 1 {
            f.write_str("\na broker starts with one active key: withdraw the others too")?;
        } else if let Some(cause) = &self.unusable {
            write!(f, "\nwarning: no broker starts with the keys that are left: {cause}")?;
        }
        Ok(())
    }
}

/// Error because of which no key was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WithdrawKeyError {
    /// The database can't be opened, e.g. because a broker runs on it.
    #[error(transparent)]
    Database(#[from] RestoreError),
    /// The database can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system has no random number generator.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The key under which the keys in a shared database are sealed can't be read.
    #[error(transparent)]
    KeyEncryptionKey(#[from] KeyEncryptionKeyError),
    /// A new key can't be made, or a prepared one can't be used.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// No key of the database opens under the key-encryption key of this configuration.
    #[error(
        "no key in the database opens under the key of AA_KEY_ENCRYPTION_KEY_PATH, and AA_ADMIN_SECRET differs from that of the \
         brokers: set both as they do"
    )]
    WrongKey,
    /// A setting differs from that of the brokers.
    #[error("{conflict}: use the same setting for all of them")]
    Settings {
        /// The setting.
        conflict: String,
    },
    /// The database knows no keys: a broker of an earlier version used it.
    #[error("the database knows no keys: start and stop the broker once, then withdraw the key")]
    NoKeys,
    /// The database has no such key.
    #[error(
        "the database has no key `{kid}`: `awrit keys list` shows the ids, and so do the events of the audit trail"
    )]
    Unknown {
        /// The id.
        kid: String,
    },
}

#[cfg(test)]
mod tests;
