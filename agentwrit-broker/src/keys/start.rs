//! Keys in files at the start of a broker: changes that the operator made to the files, and those that a crash left undone.
//!
//! 1. The first start imports the key at `AA_SIGNING_KEY_PATH`, or makes one.
//! 2. A key at that path that the database does not know was put there by the operator: it becomes the active one. The former
//!    one is retiring if its file is still there, otherwise withdrawn.
//! 3. A published key whose file the operator removed is withdrawn. If it is the active one, and there is no other at the path,
//!    a new key is made.
//! 4. A file that is damaged or holds another key than its name says stops the start if it is that of the active key. Another
//!    key with such a file verifies, and is reported as unusable.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agentwrit_verify::{Subject, UnixTime, issue::SigningKey};

use super::{
    BrokerKeys, Custody, CustodyError, Entropy, KeyFileError, NonceKey, key_files::KeyFiles, nonce_file, random,
    row::new_row, signing::KeyFile,
};
use crate::{
    audit::{EventType, NewEvent},
    domain::{KeyPurpose, KeyState, StoredKey},
    store::{Store, StoreError, Tx},
};

/// Time for which a replaced key verifies after its last token expired: clocks and caches of verifiers may be late.
const RETIREMENT_MARGIN: Duration = Duration::from_secs(3600);

/// Opens the keys in the files at `path`, and brings rows and files into step.
///
/// # Errors
///
/// [`OpenKeysError`], with the remedy.
pub(crate) async fn open_key_files(
    store: &Store,
    path: &Path,
    entropy: &Arc<dyn Entropy>,
) -> Result<BrokerKeys, OpenKeysError> {
    let rows = store.read(|reader| reader.signing_keys()).await?;
    let files = KeyFiles::at(path);
    let present = present(&files, &rows)?;
    let is_active_elsewhere = is_active_elsewhere(&files, &rows, &present);
    let nonce_key = if is_active_elsewhere {
        // The file at the path is damaged, or was lost or removed. The active key is still in the directory.
        nonce_file::open(path, NonceKey::new(random(entropy.as_ref())), entropy.as_ref())?
    } else {
        open_at_path(path, entropy.as_ref())?
    };
    // With the name that the file has now, if it was made.
    let files = KeyFiles::at(path);
    let at_path = if is_active_elsewhere { None } else { files.at_path()? };
    let found = Arc::new(Found { at_path, present, path: files.path().to_owned() });
    let rows = store.transact(move |tx| found.adopt_in(tx)).await?;
    // The store is locked: no other process writes these files.
    for error in files.remove_partial() {
        tracing::warn!(component = "signing", %error, "a file with a private key that is not used stays");
    }
    let unknown = files.unknown(&rows);
    let custody = Custody::of_files(files, Arc::clone(entropy));
    custody.settle(&rows);
    for file in unknown {
        tracing::warn!(
            component = "signing", path = %file.display(),
            "the database names no key of this file: remove it, unless it belongs to another database"
        );
    }
    Ok(BrokerKeys { custody: Arc::new(custody), nonce_key })
}

/// Examines the keys in the files at `path`. Returns what the next start will change, in words. Changes nothing.
///
/// # Errors
///
/// [`KeyFileError`], as a start would report it.
pub(crate) fn examine_key_files(path: &Path, rows: &[StoredKey]) -> Result<Vec<String>, KeyFileError> {
    let files = KeyFiles::at(path);
    let present = present(&files, rows)?;
    let at_path = if is_active_elsewhere(&files, rows, &present) { None } else { files.at_path()? };
    let found = Found { at_path, present, path: files.path().to_owned() };
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let changed = found.changes(rows, UnixTime::default(), UnixTime::default())?;
    let described = changed.iter().map(|row| match row.state {
        KeyState::Withdrawn => format!(
            "the next start withdraws the signing key `{}`, whose file is missing: restore it from a backup, unless its tokens \
             are to become invalid",
            row.kid
        ),
        KeyState::Active => format!("the next start activates the signing key `{}`: its file is `{}`", row.kid, path.display()),
        KeyState::Prepared | KeyState::Retiring | KeyState::Retired => {
            format!("the next start replaces the signing key `{}`, which verifies until its tokens have expired", row.kid)
        }
    });
    Ok(described.collect())
}

/// Reads or makes the key at `path`, and the nonce secret beside it.
pub(super) fn open_at_path(path: &Path, entropy: &dyn Entropy) -> Result<NonceKey, KeyFileError> {
    let KeyFile { signing_key, derived_nonce_key, created } = KeyFile::open(path, entropy)?;
    if created {
        let kid = signing_key.id().as_str();
        tracing::info!(component = "signing", path = %path.display(), kid, "a new signing key was made");
        // The secret beside the former key may be derived from that one, which was replaced because it leaked.
        nonce_file::remove(path)?;
    }
    let initial = if created { NonceKey::new(random(entropy)) } else { derived_nonce_key };
    nonce_file::open(path, initial, entropy)
}

/// Returns the ids of the published keys whose files are there, damaged ones included.
///
/// # Errors
///
/// [`KeyFileError`] if that of the active key is damaged.
fn present(files: &KeyFiles, rows: &[StoredKey]) -> Result<BTreeSet<String>, KeyFileError> {
    let mut present = BTreeSet::new();
    for row in rows.iter().filter(|row| is_published(row)) {
        let is_there = match files.find(&row.kid) {
            Ok(found) => found.is_some(),
            Err(error) if row.state == KeyState::Active => return Err(error),
            Err(_) => true,
        };
        if is_there {
            present.insert(row.kid.clone());
        }
    }
    Ok(present)
}

fn is_published(row: &StoredKey) -> bool {
    row.purpose == KeyPurpose::Token && row.state.is_published()
}

/// Returns the active key, if its file is there.
fn active_of<'r>(rows: &'r [StoredKey], present: &BTreeSet<String>) -> Option<&'r StoredKey> {
    rows.iter().find(|row| is_published(row) && row.state == KeyState::Active && present.contains(&row.kid))
}

/// Returns true if the active key is in the directory, and none that can be used is at the path.
fn is_active_elsewhere(files: &KeyFiles, rows: &[StoredKey], present: &BTreeSet<String>) -> bool {
    active_of(rows, present).is_some() && !matches!(files.at_path(), Ok(Some(_)))
}

/// Keys whose files are there.
#[derive(Debug)]
struct Found {
    at_path: Option<SigningKey>,
    path: PathBuf,
    /// Ids of the published keys.
    present: BTreeSet<String>,
}

impl Found {
    /// Changes the rows to what the files say. Returns all rows.
    fn adopt_in(&self, tx: &mut Tx<'_>) -> Result<Vec<StoredKey>, OpenKeysError> {
        let (rows, now) = (tx.signing_keys()?, tx.now());
        let last_expiry = tx.last_expiry_of_tokens()?.unwrap_or(now).max(now);
        let changed = self.changes(&rows, now, last_expiry.saturating_add(RETIREMENT_MARGIN))?;
        if changed.is_empty() {
            return Ok(rows);
        }
        let is_first_start = rows.is_empty();
        let cursor = if is_first_start { 0 } else { tx.advance_cursor()? };
        for row in changed {
            tx.put_signing_key(&StoredKey { changed_at: now, cursor, ..row.clone() })?;
            if !is_first_start {
                record(tx, &row, now)?;
            }
        }
        Ok(tx.signing_keys()?)
    }

    /// Returns the rows that change. A replaced key verifies until `retire_at`.
    fn changes(&self, rows: &[StoredKey], now: UnixTime, retire_at: UnixTime) -> Result<Vec<StoredKey>, KeyFileError> {
        let next = self.next_active(rows, now)?;
        let mut changed = Vec::new();
        for row in rows.iter().filter(|row| is_published(row)) {
            if next.as_ref().is_some_and(|next| next.kid == row.kid) {
                continue;
            }
            if !self.present.contains(&row.kid) {
                changed.push(StoredKey { state: KeyState::Withdrawn, ..row.clone() });
            } else if row.state == KeyState::Active && next.is_some() {
                changed.push(StoredKey { state: KeyState::Retiring, retire_at: Some(retire_at), ..row.clone() });
            }
        }
        changed.extend(next);
        Ok(changed)
    }

    /// Returns the row of the key at the path, if it becomes the active one.
    fn next_active(&self, rows: &[StoredKey], now: UnixTime) -> Result<Option<StoredKey>, KeyFileError> {
        let Some(key) = &self.at_path else { return Ok(None) };
        let activated = |row: StoredKey| StoredKey {
            state: KeyState::Active,
            activates_at: None,
            activated_at: Some(now),
            retire_at: None,
            ..row
        };
        match rows.iter().find(|row| row.kid == key.id().as_str()) {
            None => Ok(Some(activated(new_row(key, now)))),
            // The active key is in the directory: a crash came before its file was moved to the path.
            Some(_) if active_of(rows, &self.present).is_some() => Ok(None),
            Some(row) if row.state.is_published() => Ok(Some(activated(row.clone()))),
            Some(row) => Err(KeyFileError::Ended { path: self.path.clone(), state: row.state.as_str() }),
        }
    }
}

/// Records the change of a key.
fn record(tx: &mut Tx<'_>, row: &StoredKey, now: UnixTime) -> Result<(), StoreError> {
    let (event_type, detail) = match row.state {
        KeyState::Active => (EventType::KeyActivated, "signing key activated at the start: its file is at the path"),
        KeyState::Withdrawn => (EventType::KeyWithdrawn, "signing key withdrawn at the start: its file is missing"),
        KeyState::Prepared | KeyState::Retiring | KeyState::Retired => return Ok(()),
    };
    tx.append(NewEvent::success(event_type, now, Subject::Admin, detail).word("kid", &row.kid)).map(|_| ())
}

/// Reason that the keys can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenKeysError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error(transparent)]
    Custody(#[from] CustodyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
