//! File of the nonce secret, beside the signing key: 64 hexadecimal digits, readable by its owner only.
//!
//! A missing file is made. If the signing key is older than the file, it gets the secret that earlier versions derived from
//! the key, so that challenges in flight survive the upgrade.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use super::{
    Entropy, KeyFileError, NonceKey,
    private_file::{self, PrivateFileError},
};

/// Returns the path of the nonce secret of a signing key.
pub(crate) fn beside(signing_key: &Path) -> PathBuf {
    let mut name = OsString::from(signing_key);
    name.push(".nonce");
    PathBuf::from(name)
}

/// Reads the secret beside `signing_key`, or makes the file with `initial`.
///
/// In a directory that can't be written, as that of a mounted key, `initial` is used without a file.
pub(super) fn open(signing_key: &Path, initial: NonceKey, entropy: &dyn Entropy) -> Result<NonceKey, KeyFileError> {
    let path = beside(signing_key);
    if let Some(found) = read(signing_key)? {
        return Ok(found);
    }
    let text = Zeroizing::new(HEXLOWER_PERMISSIVE.encode(initial.expose()) + "\n");
    if let Err(error) = private_file::create(&path, &text, entropy) {
        tracing::warn!(
            component = "signing", path = %path.display(), %error,
            "the nonce secret can't be kept in a file of its own; it is derived from the signing key"
        );
        return Ok(initial);
    }
    // Read back, because another broker that was faster may have made the file.
    Ok(read(signing_key)?.unwrap_or(initial))
}

/// Removes the secret beside `signing_key`, if there is one.
pub(super) fn remove(signing_key: &Path) -> Result<(), KeyFileError> {
    let path = beside(signing_key);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(KeyFileError::NonceSecret { path, fault: format!("cannot be removed: {error}") })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the secret beside `signing_key`. Returns None if the file is missing.
pub(super) fn read(signing_key: &Path) -> Result<Option<NonceKey>, KeyFileError> {
    let path = beside(signing_key);
    let fault = |fault: String| KeyFileError::NonceSecret { path: path.clone(), fault };
    let bytes = private_file::read(&path).map_err(|error| {
        fault(match error {
            PrivateFileError::Io(error) => format!("cannot be read: {error}"),
            PrivateFileError::NotRegular => String::from("is no regular file: remove it, and it is made again"),
            PrivateFileError::Exposed { mode } => {
                format!("is open to others (mode {mode:04o}): remove it, and it is made again")
            }
        })
    })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let decoded = HEXLOWER_PERMISSIVE.decode(bytes.trim_ascii()).map(Zeroizing::new).unwrap_or_default();
    let key = decoded.as_slice().try_into().map(NonceKey::new);
    key.map(Some).map_err(|_| fault(String::from("is damaged: remove it, and it is made again")))
}
