//! Custody of the signing keys: files beside an SQLite database, or sealed rows of a shared one.
//!
//! 1. A private half is needed by the active key only. Another key whose private half does not open is [unusable](UnusableKey):
//!    it is not activated, it is reported, and it prevents no change of other keys.
//! 2. The public half of a key in a file is that of its row. A sealed row is authenticated by its seal: while it does not open,
//!    its key is not published.
//! 3. The withdrawal of the active key needs a successor. If the file of a new key can't be written, the key is in memory only
//!    ([`Custody::successor`]) until it can: its file is tried again at intervals ([`Custody::finish_files`]).
//! 4. A disk that does not respond holds no caller up for long: [`TimedFiles`].

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agentwrit_verify::{KeySet, KeySetError, PublicKey, UnixTime, issue::SigningKey};

use super::{
    Entropy, KeyFileError, NonceKey, SealedKeyError,
    active::{InForce, published_among},
    key_files::{KeyFiles, key_of},
    random,
    row::new_row,
    sealed::SealedKeys,
    signing::{self, Seed},
    timed_files::TimedFiles,
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
    files: Mutex<FileState>,
    /// Rows whose files are not those of their states yet. Held while files are moved, so that those of the newest rows are last.
    unsettled: Mutex<Option<Vec<StoredKey>>>,
}

#[derive(Debug)]
enum Keeper {
    Files(TimedFiles),
    Sealed(SealedKeys),
}

/// Work on files that is not finished.
#[derive(Default)]
struct FileState {
    /// Ids of the keys with files that were made since the last commit of a change. A commit that was reported as failed may
    /// turn out durable after a crash: their files stay until a later commit shows that no row names them.
    uncommitted: BTreeSet<String>,
    /// Keys whose files could not be written.
    unsaved: BTreeMap<String, Seed>,
}

/// Keys that are published, and the one of them that signs.
#[derive(Debug)]
pub(crate) struct OpenKeys {
    pub(crate) active: Arc<SigningKey>,
    /// The active key, then the prepared and the retiring ones, each in the order of their creation.
    pub(crate) published: KeySet,
}

/// A key that is published according to its row, and whose private half does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnusableKey {
    pub(crate) kid: String,
    pub(crate) state: KeyState,
    pub(crate) cause: CustodyError,
    /// True if its public half is known for certain, so that it verifies.
    pub(crate) verifies: bool,
}

impl Custody {
    pub(crate) fn of_files(files: KeyFiles, entropy: Arc<dyn Entropy>) -> Self {
        let keeper = Keeper::Files(TimedFiles::new(files));
        Self { keeper, entropy, files: Mutex::default(), unsettled: Mutex::default() }
    }

    pub(crate) fn of_sealed_keys(keys: SealedKeys, entropy: Arc<dyn Entropy>) -> Self {
        Self { keeper: Keeper::Sealed(keys), entropy, files: Mutex::default(), unsettled: Mutex::default() }
    }

    /// Makes a prepared key that differs from those of `rows`, all rows of the transaction. Its file, if keys are in files, is on
    /// the disk when this returns. After a failed transaction, returns the key that was made for it: a rotation that fails at
    /// each attempt leaves one file.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] when the file can't be made.
    pub(crate) fn new_key(&self, rows: &[StoredKey], now: UnixTime) -> Result<StoredKey, CustodyError> {
        match &self.keeper {
            Keeper::Files(files) => Ok(new_row(&self.file_key(files, rows)?, now)),
            Keeper::Sealed(keys) => Ok(keys.make(now, self.entropy.as_ref())?),
        }
    }

    /// Makes a key that takes the place of a withdrawn one at once. If its file can't be made, the key is in memory only.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] when the random bytes make no key.
    pub(crate) fn successor(&self, rows: &[StoredKey], now: UnixTime) -> Result<StoredKey, CustodyError> {
        match self.new_key(rows, now) {
            Err(CustodyError::File(cause)) => {
                let seed = signing::new_seed(self.entropy.as_ref());
                let key = SigningKey::from_seed(&seed).map_err(|_| SealedKeyError::Unusable)?;
                let kid = key.id().as_str().to_owned();
                tracing::error!(
                    component = "signing", kid, %cause,
                    "the new signing key is in the memory of this broker only: make its file writable before the broker stops, \
                     or every token of this key becomes invalid"
                );
                self.files().unsaved.insert(kid, seed);
                Ok(new_row(&key, now))
            }
            made => made,
        }
    }

    /// Makes a key of the challenge nonces.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] if the nonce key is in a file, which the broker makes by itself.
    pub(crate) fn new_nonce_key(&self, now: UnixTime) -> Result<StoredKey, CustodyError> {
        match &self.keeper {
            Keeper::Sealed(keys) => {
                Ok(keys.nonce_row(&NonceKey::new(random(self.entropy.as_ref())), now, self.entropy.as_ref()))
            }
            Keeper::Files(_) => Err(SealedKeyError::NoneActive { purpose: KeyPurpose::Nonce.as_str() }.into()),
        }
    }

    /// Returns true if one of the rows opens under the key-encryption key. Keys in files have none.
    pub(crate) fn opens_any(&self, rows: &[StoredKey]) -> bool {
        match &self.keeper {
            Keeper::Sealed(keys) => rows.iter().any(|row| keys.opens(row)),
            Keeper::Files(_) => true,
        }
    }

    fn file_key(&self, files: &TimedFiles, rows: &[StoredKey]) -> Result<SigningKey, KeyFileError> {
        // Its lock is not held while a disk is waited for: health needs it.
        let taken = self.files().take_unused(rows);
        // A key whose file is damaged or missing is not tried again.
        let found = taken.and_then(|kid| files.run(move |files| files.find(&kid)).ok().flatten());
        let key = if let Some(seed) = found {
            key_of(files.path(), &seed)?
        } else {
            let entropy = Arc::clone(&self.entropy);
            files.run(move |files| files.make(entropy.as_ref()))?
        };
        self.files().uncommitted.insert(key.id().as_str().to_owned());
        Ok(key)
    }

    /// Returns the row of a key in another state. The secret is sealed anew together with state and times, and left out when
    /// the key is not published any more.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] when `before` does not open.
    pub(crate) fn with_state(&self, before: &StoredKey, after: StoredKey) -> Result<StoredKey, CustodyError> {
        match &self.keeper {
            Keeper::Sealed(keys) if after.state.is_published() => {
                Ok(keys.reseal(before, after, self.entropy.as_ref())?)
            }
            Keeper::Files(_) | Keeper::Sealed(_) => Ok(StoredKey { sealed: Vec::new(), ..after }),
        }
    }

    /// Opens [the active key](Self::active_among) among the rows of a store, and collects the published ones.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] unless one key is active for certain.
    pub(crate) fn open(&self, rows: &[StoredKey], in_force: Option<InForce<'_>>) -> Result<OpenKeys, CustodyError> {
        let active = self.active_among(rows, in_force)?;
        let mut published: Vec<(KeyState, PublicKey)> = vec![(KeyState::Active, active.public_key().clone())];
        let others = published_among(rows).filter(|row| row.state != KeyState::Active);
        published.extend(others.filter_map(|row| Some((row.state, self.public_half(row)?))));
        // Stable: keys of one state stay in the order of their creation.
        published.sort_by_key(|(state, _)| match state {
            KeyState::Active => 0,
            KeyState::Prepared => 1,
            KeyState::Retiring | KeyState::Retired | KeyState::Withdrawn => 2,
        });
        Ok(OpenKeys { active, published: KeySet::new(published.into_iter().map(|(_, key)| key))? })
    }

    /// Returns the published keys among the rows whose private halves do not open.
    pub(crate) fn unusable(&self, rows: &[StoredKey]) -> Vec<UnusableKey> {
        let examined = published_among(rows).filter_map(|row| {
            let cause = self.open_one(row).err()?;
            let verifies = self.public_half(row).is_some();
            Some(UnusableKey { kid: row.kid.clone(), state: row.state, cause, verifies })
        });
        examined.collect()
    }

    /// Returns true if a key is in the memory of this process only.
    pub(crate) fn has_unsaved_key(&self) -> bool {
        !self.files().unsaved.is_empty()
    }

    /// Returns the public half of a key if it is certain that it belongs to it.
    fn public_half(&self, row: &StoredKey) -> Option<PublicKey> {
        match &self.keeper {
            Keeper::Sealed(keys) => Some(keys.open(row).ok()?.public_key().clone()),
            Keeper::Files(_) => {
                let public = PublicKey::from_bytes(row.public.as_ref()?).ok()?;
                (public.id().as_str() == row.kid).then_some(public)
            }
        }
    }

    pub(super) fn has_files(&self) -> bool {
        matches!(self.keeper, Keeper::Files(_))
    }

    pub(super) fn open_one(&self, row: &StoredKey) -> Result<SigningKey, CustodyError> {
        let files = match &self.keeper {
            Keeper::Sealed(keys) => return Ok(keys.open(row)?),
            Keeper::Files(files) => files,
        };
        let unsaved = self.files().unsaved.get(&row.kid).cloned();
        let seed = if let Some(seed) = unsaved {
            seed
        } else {
            let kid = row.kid.clone();
            let found = files.run(move |files| files.find(&kid))?;
            found.ok_or_else(|| CustodyError::Missing { kid: row.kid.clone() })?
        };
        let key = key_of(files.path(), &seed)?;
        if row.public.as_ref() == Some(key.public_key().as_bytes()) {
            Ok(key)
        } else {
            Err(SealedKeyError::Changed { kid: row.kid.clone() }.into())
        }
    }

    /// Writes, moves and removes files after a commit of these rows. What fails is tried again by [`Self::finish_files`], and by
    /// the next start.
    pub(crate) fn settle(&self, rows: &[StoredKey]) {
        let Keeper::Files(files) = &self.keeper else { return };
        let uncommitted = {
            let mut state = self.files();
            state.unsaved.retain(|kid, _| rows.iter().any(|row| row.kid == *kid && row.state.is_published()));
            mem::take(&mut state.uncommitted)
        };
        for kid in uncommitted.iter().filter(|kid| !rows.iter().any(|row| row.kid == **kid)) {
            let kid = kid.clone();
            if let Err(error) = files.run(move |files| files.remove(&kid)) {
                tracing::warn!(component = "signing", %error, "the file of a signing key that is not used stays");
            }
        }
        let unsettled = &mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.settle_files(files, rows) {
            tracing::error!(
                component = "signing", %error,
                "the files of the signing keys are not those of their states yet: tried again every 2 s, and at the next start"
            );
            *unsettled = Some(rows.to_vec());
        } else {
            *unsettled = None;
        }
    }

    /// Does what [`Self::settle`] could not do.
    pub(crate) fn finish_files(&self) {
        let Keeper::Files(files) = &self.keeper else { return };
        let unsettled = &mut *self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = unsettled
            && self.settle_files(files, rows).is_ok()
        {
            tracing::info!(component = "signing", "the files of the signing keys are those of their states again");
            *unsettled = None;
        }
    }

    fn settle_files(&self, files: &TimedFiles, rows: &[StoredKey]) -> Result<(), KeyFileError> {
        let unsaved = self.files().unsaved.clone();
        for (kid, seed) in unsaved {
            let (name, entropy) = (kid.clone(), Arc::clone(&self.entropy));
            files.run(move |files| files.write(&name, &seed, entropy.as_ref()))?;
            self.files().unsaved.remove(&kid);
        }
        let (rows, entropy) = (rows.to_vec(), Arc::clone(&self.entropy));
        files.run(move |files| files.settle(&rows, entropy.as_ref()))
    }

    fn files(&self) -> MutexGuard<'_, FileState> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileState {
    /// Takes a key with a file that no row names.
    fn take_unused(&mut self, rows: &[StoredKey]) -> Option<String> {
        let unused = self.uncommitted.iter().find(|kid| !rows.iter().any(|row| row.kid == **kid)).cloned()?;
        self.uncommitted.take(&unused)
    }
}

impl std::fmt::Debug for FileState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unsaved: Vec<&String> = self.unsaved.keys().collect();
        f.debug_struct("FileState").field("unsaved", &unsaved).finish_non_exhaustive()
    }
}

impl UnusableKey {
    /// Returns the fault with its consequence and remedy, for an operator.
    pub(crate) fn describe(&self) -> String {
        let consequence = match (self.state, self.verifies) {
            (KeyState::Active, true) => "it signs until the broker stops: withdraw it, or restore it from a backup",
            (KeyState::Prepared, _) => "it is not activated: withdraw it, it has signed nothing",
            (_, true) => "its tokens are accepted, it cannot sign again",
            (_, false) => "its tokens are rejected: withdraw it",
        };
        format!("{}; {consequence}", self.cause)
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

#[cfg(test)]
mod tests;
