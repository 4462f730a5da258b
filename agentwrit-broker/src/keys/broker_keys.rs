//! Keys of a broker, from where they are kept: files with SQLite, sealed rows with a shared database.

use std::{fmt, path::Path, sync::Arc};

use zeroize::Zeroizing;

use super::{
    Custody, CustodyError, Entropy, KeyFileError, nonce_file,
    sealed::{SealedKeys, check_complete},
    signing::KeyFile,
};
use crate::domain::StoredKey;

/// Keys that a broker works with.
#[derive(Debug)]
pub(crate) struct BrokerKeys {
    /// Custody of the signing keys.
    pub(crate) custody: Arc<Custody>,
    /// Authenticates challenge nonces: see [`Nonces::new`](crate::issuer::nonce::Nonces::new).
    pub(crate) nonce_key: NonceKey,
}

impl BrokerKeys {
    /// Opens the keys that brokers of a database share, whose latest change has the cursor `keys_cursor`.
    ///
    /// # Errors
    ///
    /// [`CustodyError`], with the remedy.
    pub(crate) fn from_rows(
        keys: SealedKeys,
        rows: &[StoredKey],
        keys_cursor: u64,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, CustodyError> {
        check_complete(rows, keys_cursor)?;
        let nonce_key = keys.nonce_key(rows)?;
        let custody = Arc::new(Custody::of_sealed_keys(keys, entropy));
        custody.open(rows, None)?;
        Ok(Self { custody, nonce_key })
    }

    /// Returns true if there is a valid signing key at `path`. Makes no file.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], as a start would report it.
    pub(crate) fn exist_in_files(path: &Path) -> Result<bool, KeyFileError> {
        let exists = KeyFile::exists(path)?;
        nonce_file::read(path).map(|_| exists)
    }
}

/// Key of the challenge nonces.
pub(crate) struct NonceKey(Zeroizing<[u8; 32]>);

impl NonceKey {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Returns the key.
    #[must_use]
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::*;
    use crate::keys::{OsEntropy, nonce_file_beside, start::open_at_path};

    fn open(path: &Path) -> Result<NonceKey, KeyFileError> {
        open_at_path(path, &OsEntropy::open().unwrap())
    }

    fn derived(path: &Path) -> [u8; 32] {
        *KeyFile::open(path, &OsEntropy::open().unwrap()).unwrap().derived_nonce_key.expose()
    }

    #[test]
    fn makes_nonce_secret_of_its_own_beside_new_key_and_reads_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let made = open(&path).unwrap();
        assert_ne!(*made.expose(), derived(&path));
        let file = nonce_file_beside(&path);
        assert_eq!(file, directory.path().join("signing.key.nonce"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(open(&path).unwrap().expose(), made.expose());
    }

    #[test]
    fn keeps_derived_nonce_secret_of_key_from_earlier_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let derived = derived(&path);
        assert_eq!(*open(&path).unwrap().expose(), derived, "challenges in flight survive the upgrade");
        assert!(nonce_file_beside(&path).exists());
        // From now on it does not depend on the signing key.
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
        fs::rename(nonce_file_beside(&path), directory.path().join("kept")).unwrap();
        KeyFile::open(&path, &OsEntropy::open().unwrap()).unwrap();
        fs::rename(directory.path().join("kept"), nonce_file_beside(&path)).unwrap();
        assert_eq!(*open(&path).unwrap().expose(), derived);
    }

    #[test]
    fn replaces_nonce_secret_when_signing_key_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let before = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_ne!(open(&path).unwrap().expose(), before.expose());
    }

    #[test]
    fn rejects_nonce_secret_that_is_damaged_or_open_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        open(&path).unwrap();
        let file = nonce_file_beside(&path);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let exposed = "is open to others (mode 0644): remove it, and it is made again".to_owned();
        assert_eq!(open(&path).unwrap_err(), KeyFileError::NonceSecret { path: file.clone(), fault: exposed });
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "not a secret").unwrap();
        let damaged = "is damaged: remove it, and it is made again".to_owned();
        assert_eq!(open(&path).unwrap_err(), KeyFileError::NonceSecret { path: file, fault: damaged });
    }

    #[test]
    fn debug_output_omits_keys() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(format!("{:?}", open(&directory.path().join("signing.key")).unwrap()), "NonceKey(…)");
    }
}
