//! Keys that a broker takes along from files into a shared database.

use std::path::Path;

use agentwrit_verify::UnixTime;

use super::{
    Entropy, KeyFileError, SealedKeys,
    key_files::{KeyFiles, key_of},
    row::new_row,
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

#[cfg(test)]
mod tests {
    use std::{fs, slice};

    use super::*;
    use crate::keys::{BrokerKeys, Custody, SeededEntropy, test_kek};

    fn state(row: &StoredKey, state: KeyState) -> StoredKey {
        StoredKey { state, ..row.clone() }
    }

    #[test]
    fn seals_published_keys_from_their_files_and_leaves_ended_ones_without_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let entropy: std::sync::Arc<dyn Entropy> = std::sync::Arc::new(SeededEntropy::new(1));
        open_at_path(&path, entropy.as_ref()).unwrap();
        let now = UnixTime::from_seconds(9);
        let at_path = new_row(&key_of(&path, &signing::read(&path).unwrap().unwrap()).unwrap(), now);
        let custody = Custody::of_files(KeyFiles::at(&path), std::sync::Arc::clone(&entropy));
        let prepared = custody.new_key(&[], now).unwrap();
        let retiring = custody.new_key(slice::from_ref(&prepared), now).unwrap();
        let withdrawn = custody.new_key(&[prepared.clone(), retiring.clone()], now).unwrap();
        let rows = [
            state(&at_path, KeyState::Active),
            prepared,
            state(&retiring, KeyState::Retiring),
            state(&withdrawn, KeyState::Withdrawn),
        ];
        let keys = || SealedKeys::new(test_kek(1), "https://agentwrit.local");
        let sealed = seal_key_files(&path, &rows, &keys(), now, entropy.as_ref()).unwrap().unwrap();
        let opened = BrokerKeys::from_rows(keys(), &sealed, 0, entropy.clone()).unwrap();
        let opened = opened.custody.open(&sealed, None).unwrap();
        let published: Vec<&str> = opened.published.iter().map(|key| key.id().as_str()).collect();
        assert_eq!(published, [&rows[0].kid, &rows[1].kid, &rows[2].kid]);
        assert_eq!(opened.active.id().as_str(), rows[0].kid);
        assert!(sealed.iter().find(|row| row.kid == rows[3].kid).unwrap().sealed.is_empty());

        let unknown = seal_key_files(&path, &rows[1..], &keys(), now, entropy.as_ref()).unwrap_err();
        assert_eq!(unknown, KeyFileError::Unadopted { path: path.clone() });
        fs::remove_file(&path).unwrap();
        assert_eq!(seal_key_files(&path, &rows, &keys(), now, entropy.as_ref()), Ok(None));
    }
}
