//! Custody of the signing keys: files beside an SQLite database, or sealed rows of a shared one.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use agentwrit_verify::{KeySet, KeySetError, PublicKey, UnixTime, issue::SigningKey};

use super::{
    Entropy, KeyFileError, SealedKeyError,
    key_files::{KeyFiles, key_of},
    row::new_row,
    sealed::SealedKeys,
};
use crate::{
    domain::{KeyPurpose, KeyState, StoredKey},
    store::StoreError,
};

/// Custody of the signing keys.
#[derive(Debug)]
pub(crate) struct Custody {
    keeper: Keeper,
    entropy: Arc<dyn Entropy>,
    /// Ids of the keys with files that were made since the last commit of a change. A commit that was reported as failed may
    /// turn out durable after a crash: their files stay until a later commit shows that no row names them.
    uncommitted: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
enum Keeper {
    Files(KeyFiles),
    Sealed(SealedKeys),
}

/// Keys that are published, and the one of them that signs.
#[derive(Debug)]
pub(crate) struct OpenKeys {
    pub(crate) active: SigningKey,
    /// The active key, then the prepared and the retiring ones, each in the order of their creation.
    pub(crate) published: KeySet,
}

impl Custody {
    pub(crate) fn of_files(files: KeyFiles, entropy: Arc<dyn Entropy>) -> Self {
        Self { keeper: Keeper::Files(files), entropy, uncommitted: Mutex::default() }
    }

    pub(crate) fn of_sealed_keys(keys: SealedKeys, entropy: Arc<dyn Entropy>) -> Self {
        Self { keeper: Keeper::Sealed(keys), entropy, uncommitted: Mutex::default() }
    }

    /// Makes a prepared key that differs from those of `rows`, all rows of the transaction. Its file, if keys are in files, is on
    /// the disk when this returns. After a failed transaction, returns the key that was made for it: a rotation that fails at
    /// each attempt leaves one file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the file can't be made.
    pub(crate) fn new_key(&self, rows: &[StoredKey], now: UnixTime) -> Result<StoredKey, StoreError> {
        let made = match &self.keeper {
            Keeper::Files(files) => {
                self.file_key(files, rows).map(|key| new_row(&key, now)).map_err(CustodyError::from)
            }
            Keeper::Sealed(keys) => keys.make(now, self.entropy.as_ref()).map_err(CustodyError::from),
        };
        Ok(made?)
    }

    fn file_key(&self, files: &KeyFiles, rows: &[StoredKey]) -> Result<SigningKey, KeyFileError> {
        let mut uncommitted = self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = uncommitted.iter().find(|kid| !rows.iter().any(|row| row.kid == **kid)).cloned();
        // A key whose file is damaged or missing is not tried again.
        let found = unused.and_then(|kid| uncommitted.take(&kid)).map(|kid| files.find(&kid)).transpose()?.flatten();
        let key = match found {
            Some(seed) => key_of(files.path(), &seed)?,
            None => files.make(self.entropy.as_ref())?,
        };
        uncommitted.insert(key.id().as_str().to_owned());
        Ok(key)
    }

    /// Returns the row of a key in another state. The secret is sealed anew together with state and times, and left out when
    /// the key is not published any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when `before` does not open.
    pub(crate) fn with_state(&self, before: &StoredKey, after: StoredKey) -> Result<StoredKey, StoreError> {
        match &self.keeper {
            Keeper::Sealed(keys) if after.state.is_published() => {
                Ok(keys.reseal(before, after, self.entropy.as_ref()).map_err(CustodyError::from)?)
            }
            Keeper::Files(_) | Keeper::Sealed(_) => Ok(StoredKey { sealed: Vec::new(), ..after }),
        }
    }

    /// Opens the published keys among the rows of a store.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] unless each of them opens, is what its row says, and exactly one is active.
    pub(crate) fn open(&self, rows: &[StoredKey]) -> Result<OpenKeys, CustodyError> {
        let mut published: Vec<(KeyState, PublicKey)> = Vec::new();
        let mut active = None;
        for row in rows.iter().filter(|row| row.purpose == KeyPurpose::Token && row.state.is_published()) {
            let key = self.open_one(row)?;
            published.push((row.state, key.public_key().clone()));
            if row.state == KeyState::Active && active.replace(key).is_some() {
                return Err(SealedKeyError::SeveralActive { purpose: KeyPurpose::Token.as_str() }.into());
            }
        }
        let active = active.ok_or(SealedKeyError::NoneActive { purpose: KeyPurpose::Token.as_str() })?;
        // Stable: keys of one state stay in the order of their creation.
        published.sort_by_key(|(state, _)| match state {
            KeyState::Active => 0,
            KeyState::Prepared => 1,
            KeyState::Retiring | KeyState::Retired | KeyState::Withdrawn => 2,
        });
        Ok(OpenKeys { active, published: KeySet::new(published.into_iter().map(|(_, key)| key))? })
    }

    fn open_one(&self, row: &StoredKey) -> Result<SigningKey, CustodyError> {
        let files = match &self.keeper {
            Keeper::Sealed(keys) => return Ok(keys.open(row)?),
            Keeper::Files(files) => files,
        };
        let seed = files.find(&row.kid)?.ok_or_else(|| CustodyError::Missing { kid: row.kid.clone() })?;
        let key = key_of(files.path(), &seed)?;
        if row.public.as_ref() == Some(key.public_key().as_bytes()) {
            Ok(key)
        } else {
            Err(SealedKeyError::Changed { kid: row.kid.clone() }.into())
        }
    }

    /// Moves and removes files after a commit of these rows. The next start does what fails here.
    pub(crate) fn settle(&self, rows: &[StoredKey]) {
        let Keeper::Files(files) = &self.keeper else { return };
        let uncommitted = mem::take(&mut *self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = files.settle(rows, self.entropy.as_ref()) {
            tracing::error!(component = "signing", %error, "the files of the signing keys are not those of their states yet");
        }
        for kid in uncommitted.iter().filter(|kid| !rows.iter().any(|row| row.kid == **kid)) {
            if let Err(error) = files.remove(kid) {
                tracing::warn!(component = "signing", %error, "the file of a signing key that is not used stays");
            }
        }
    }
}

/// Error of keys that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustodyError {
    /// A key file can't be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The rows of keys can't be used.
    #[error(transparent)]
    Sealed(#[from] SealedKeyError),
    /// The file of a published key is missing.
    #[error(
        "the file of the signing key `{kid}` is missing: restore it from a backup, or start the broker again without it"
    )]
    Missing {
        /// Id of the key.
        kid: String,
    },
    /// Too many keys are published.
    #[error(transparent)]
    Set(#[from] KeySetError),
}

impl From<CustodyError> for StoreError {
    fn from(error: CustodyError) -> Self {
        Self::Unavailable { cause: error.to_string() }
    }
}
