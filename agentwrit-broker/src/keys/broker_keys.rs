//! Keys of a broker, from where they are kept: files with SQLite, sealed rows with a shared database.

use std::{fmt, path::Path};

use agentwrit_verify::{PublicKey, issue::SigningKey};
use zeroize::Zeroizing;

use super::{Entropy, KeyFileError, nonce_file, random, signing::KeyFile};

/// Keys that a broker works with.
#[derive(Debug)]
pub(crate) struct BrokerKeys {
    /// Signs tokens.
    pub(crate) signing_key: SigningKey,
    /// Keys that tokens in use may be signed with, and the next one: among them that of the signing key.
    pub(crate) published: Vec<PublicKey>,
    /// Authenticates challenge nonces: see [`Nonces::new`](crate::issuer::nonce::Nonces::new).
    pub(crate) nonce_key: NonceKey,
}

impl BrokerKeys {
    /// Reads the signing key at `path` and the nonce secret beside it, or makes what is missing.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], with the remedy.
    pub(crate) fn from_files(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyFileError> {
        let KeyFile { signing_key, derived_nonce_key, created } = KeyFile::open(path, entropy)?;
        if created {
            tracing::info!(component = "signing", path = %path.display(), "a new signing key was made");
        }
        if created {
            // The secret beside the former key may be derived from that one, which was replaced because it leaked.
            nonce_file::remove(path)?;
        }
        let initial = if created { NonceKey::new(random(entropy)) } else { derived_nonce_key };
        let nonce_key = nonce_file::open(path, initial, entropy)?;
        Ok(Self { published: vec![signing_key.public_key().clone()], signing_key, nonce_key })
    }

    /// Returns true if there is a valid signing key at `path`. Makes no file.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], as [`BrokerKeys::from_files`] would report it.
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
    use crate::keys::{OsEntropy, nonce_file_beside};

    fn open(path: &Path) -> Result<BrokerKeys, KeyFileError> {
        BrokerKeys::from_files(path, &OsEntropy::open().unwrap())
    }

    fn derived(path: &Path) -> [u8; 32] {
        *KeyFile::open(path, &OsEntropy::open().unwrap()).unwrap().derived_nonce_key.expose()
    }

    #[test]
    fn makes_nonce_secret_of_its_own_beside_new_key_and_reads_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let made = open(&path).unwrap();
        assert_ne!(*made.nonce_key.expose(), derived(&path));
        let file = nonce_file_beside(&path);
        assert_eq!(file, directory.path().join("signing.key.nonce"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(open(&path).unwrap().nonce_key.expose(), made.nonce_key.expose());
    }

    #[test]
    fn keeps_derived_nonce_secret_of_key_from_earlier_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let derived = derived(&path);
        assert_eq!(*open(&path).unwrap().nonce_key.expose(), derived, "challenges in flight survive the upgrade");
        assert!(nonce_file_beside(&path).exists());
        // From now on it does not depend on the signing key.
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
        fs::rename(nonce_file_beside(&path), directory.path().join("kept")).unwrap();
        KeyFile::open(&path, &OsEntropy::open().unwrap()).unwrap();
        fs::rename(directory.path().join("kept"), nonce_file_beside(&path)).unwrap();
        assert_eq!(*open(&path).unwrap().nonce_key.expose(), derived);
    }

    #[test]
    fn replaces_nonce_secret_when_signing_key_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("signing.key");
        let before = open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_ne!(open(&path).unwrap().nonce_key.expose(), before.nonce_key.expose());
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
        let keys = open(&directory.path().join("signing.key")).unwrap();
        assert!(format!("{keys:?}").contains("NonceKey(…)"));
    }
}
