//! Keys that a broker takes along from files into a shared database.

use std::path::Path;

use agentwrit_verify::UnixTime;

use super::{
    Entropy, KeyFileError, SealedKeys,
    custody::new_row,
    key_files::{KeyFiles, key_of},
    signing,
    start::open_at_path,
};
use crate::domain::{KeyState, StoredKey};

/// Seals the keys of an SQLite database, which are in the files at `path`, and the nonce secret. Keys that are not published
/// any more stay without a secret. Returns none if there is no signing key.
///
/// # Errors
///
/// [`KeyFileError`], with the remedy.
pub(crate) fn seal_key_files(
    path: &Path,
    rows: &[StoredKey],
    keys: &SealedKeys,
    now: UnixTime,
    entropy: &dyn Entropy,
) -> Result<Option<Vec<StoredKey>>, KeyFileError> {
    let Some(at_path) = signing::read(path)? else { return Ok(None) };
    let (files, key) = (KeyFiles::at(path), key_of(path, &at_path)?);
    let nonce = keys.nonce_row(&open_at_path(path, entropy)?, now, entropy);
    if rows.is_empty() {
        // A database of an earlier version, which knows no keys.
        let row = StoredKey { state: KeyState::Active, activated_at: Some(now), ..new_row(&key, now) };
        return Ok(Some(vec![keys.seal(row, &at_path, entropy), nonce]));
    }
    if rows.iter().all(|row| row.kid != key.id().as_str()) {
        return Err(KeyFileError::Unadopted { path: path.into() });
    }
    let mut sealed = vec![nonce];
    for row in rows {
        sealed.push(if row.state.is_published() {
            let seed = files.find(&row.kid)?.ok_or_else(|| KeyFileError::Unadopted { path: path.into() })?;
            keys.seal(row.clone(), &seed, entropy)
        } else {
            row.clone()
        });
    }
    Ok(Some(sealed))
}
