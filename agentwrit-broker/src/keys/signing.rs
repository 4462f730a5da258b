//! File of the broker's signing key.
//!
//! 1. PKCS#8 in PEM (RFC 8410, RFC 7468), Ed25519, made readable by its owner only. `openssl genpkey -algorithm ed25519`
//!    makes one too.
//! 2. A missing file is made: written aside, synced, then linked to its name, so that neither a crash nor a second
//!    broker starting at the same moment leaves half a key or two keys.
//! 3. A file that is corrupt, holds another kind of key or can be opened by users other than owner and group stops the
//!    start. It is never replaced: a new key would invalidate every token signed with the old one.

use std::{
    io,
    path::{Path, PathBuf},
};

use agentwrit_verify::issue::SigningKey;
use ed25519_dalek::pkcs8::{
    ALGORITHM_OID, DecodePrivateKey, EncodePrivateKey, KeypairBytes, PrivateKeyInfoRef, SecretDocument,
    spki::der::pem::LineEnding,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    Entropy, NonceKey,
    private_file::{self, PrivateFileError},
    random,
};

/// Key of the key file.
#[derive(Debug)]
pub(super) struct KeyFile {
    /// Signs tokens.
    pub(super) signing_key: SigningKey,
    /// Nonce key of brokers that kept none of its own.
    pub(super) derived_nonce_key: NonceKey,
    /// True if the file was missing and has been made.
    pub(super) created: bool,
}

/// Makes the seed of a new key. Its id does not begin with a hyphen, so that it is not an option on a command line.
pub(super) fn new_seed(entropy: &dyn Entropy) -> Seed {
    loop {
        let seed: Seed = Zeroizing::new(random(entropy));
        let id_is_option = SigningKey::from_seed(&seed).is_ok_and(|key| key.id().as_str().starts_with('-'));
        if !id_is_option {
            return seed;
        }
    }
}

impl KeyFile {
    /// Reads the key at `path`, or makes one if the file is missing.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], with the remedy.
    pub(super) fn open(path: &Path, entropy: &dyn Entropy) -> Result<Self, KeyFileError> {
        if let Some(seed) = read(path)? {
            return Self::from_seed(path, &seed, false);
        }
        encode(&new_seed(entropy))
            .and_then(|pem| private_file::create(path, &pem, entropy))
            .map_err(|error| KeyFileError::Uncreatable { path: path.into(), cause: error.to_string() })?;
        // Read back, because another broker that was faster may have made the key.
        let seed = read(path)?.ok_or_else(|| KeyFileError::Uncreatable {
            path: path.into(),
            cause: "the file disappeared again".into(),
        })?;
        Self::from_seed(path, &seed, true)
    }

    /// Returns true if there is a valid key at `path`. Makes no file.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`], as [`KeyFile::open`] would report it.
    pub(super) fn exists(path: &Path) -> Result<bool, KeyFileError> {
        let Some(seed) = read(path)? else { return Ok(false) };
        Self::from_seed(path, &seed, false).map(|_| true)
    }

    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 §2)")]
    fn from_seed(path: &Path, seed: &Seed, created: bool) -> Result<Self, KeyFileError> {
        let signing_key = SigningKey::from_seed(seed).map_err(|_| KeyFileError::Corrupt { path: path.into() })?;
        let mac = Hmac::<Sha256>::new_from_slice(&**seed).expect("HMAC takes a key of any length");
        let nonce_key = mac.chain_update(b"agentwrit-nonce-key-v1").finalize().into_bytes().into();
        Ok(Self { signing_key, derived_nonce_key: NonceKey::new(nonce_key), created })
    }
}

/// Error of a key file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("the signing key `{}` cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
    /// Users other than its owner and group can read or write it.
    #[error("the signing key `{}` is open to others (mode {mode:04o}): run `chmod 600` on it, \
             and replace it if another user may have read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds another kind of key, or no key.
    #[error("the signing key `{}` holds {found}, not an Ed25519 private key in PKCS#8 PEM: \
             point AA_SIGNING_KEY_PATH elsewhere, or make one with `openssl genpkey -algorithm ed25519`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Content of the file.
        found: &'static str,
    },
    /// The file is damaged.
    #[error("the signing key `{}` is damaged: restore it from a backup; \
             if you move it away, the next start withdraws the key, and tokens that it signed become invalid", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
    },
    /// The file that is named for a key holds another one.
    #[error("the signing key `{}` is not the key of that name: restore it from a backup; \
             if you move it away, the next start withdraws the key, and tokens that it signed become invalid", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
    },
    /// There is no key that may sign: the one at the path ended.
    #[error("the signing key `{}` was {state}, and the file of the active one is missing: restore that from a backup; \
             if you move this one away, a new one is made and every token signed so far becomes invalid", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
        /// State of its key.
        state: &'static str,
    },
    /// The files are not those of the database.
    #[error("the signing key `{}`, or a key beside it, is not the one that the database names: start and stop the broker once \
             with its SQLite database first", path.display())]
    Unadopted {
        /// The file.
        path: PathBuf,
    },
    /// A disk does not respond.
    #[error("the files of the signing key `{}` are not read or written in time: their disk does not respond", path.display())]
    Slow {
        /// File of the active key.
        path: PathBuf,
    },
    /// A file cannot be renamed or removed.
    #[error("the signing key `{}` cannot be moved or removed: {cause}", path.display())]
    Immovable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
    /// The nonce secret beside the signing key cannot be used.
    #[error("the nonce secret `{}` {fault}", path.display())]
    NonceSecret {
        /// The file.
        path: PathBuf,
        /// Fault and remedy.
        fault: String,
    },
    /// The file is missing and cannot be made.
    #[error("the signing key `{}` cannot be made: {cause}", path.display())]
    Uncreatable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        cause: String,
    },
}

pub(super) type Seed = Zeroizing<[u8; 32]>;

pub(super) fn read(path: &Path) -> Result<Option<Seed>, KeyFileError> {
    decode_read(path, private_file::read(path))
}

/// Reads a key from a file that may be open to others.
pub(super) fn read_in_any_mode(path: &Path) -> Result<Option<Seed>, KeyFileError> {
    decode_read(path, private_file::read_in_any_mode(path))
}

fn decode_read(
    path: &Path,
    read: Result<Option<Zeroizing<Vec<u8>>>, PrivateFileError>,
) -> Result<Option<Seed>, KeyFileError> {
    match read {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => decode(path, &bytes).map(Some),
        Err(PrivateFileError::Io(error)) => {
            Err(KeyFileError::Unreadable { path: path.into(), cause: error.to_string() })
        }
        Err(PrivateFileError::NotRegular) => Err(KeyFileError::Foreign { path: path.into(), found: "no regular file" }),
        Err(PrivateFileError::Exposed { mode }) => Err(KeyFileError::Exposed { path: path.into(), mode }),
    }
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Seed, KeyFileError> {
    let foreign = |found| KeyFileError::Foreign { path: path.into(), found };
    let corrupt = || KeyFileError::Corrupt { path: path.into() };
    let text = std::str::from_utf8(bytes).map_err(|_| foreign("binary data"))?;
    match text.split_once("-----BEGIN ").and_then(|(_, rest)| rest.split_once("-----")) {
        Some(("PRIVATE KEY", _)) => {}
        Some((label, _)) => return Err(foreign(name_of(label))),
        None if text.trim().is_empty() => return Err(corrupt()),
        None => return Err(foreign("no PEM block")),
    }
    // A key of another algorithm is valid PKCS#8 and differs in its object identifier.
    let (_, document) = SecretDocument::from_pem(text.trim()).map_err(|_| corrupt())?;
    let key = PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| corrupt())?;
    if key.algorithm.oid != ALGORITHM_OID {
        return Err(foreign("a key of another algorithm"));
    }
    let key = ed25519_dalek::SigningKey::from_pkcs8_der(document.as_bytes()).map_err(|_| corrupt())?;
    Ok(Zeroizing::new(key.to_bytes()))
}

fn name_of(label: &str) -> &'static str {
    match label {
        "RSA PRIVATE KEY" => "an RSA key",
        "EC PRIVATE KEY" | "EC PARAMETERS" => "an EC key",
        "OPENSSH PRIVATE KEY" => "an OpenSSH key",
        "ENCRYPTED PRIVATE KEY" => "an encrypted key",
        "PUBLIC KEY" => "a public key",
        "CERTIFICATE" => "a certificate",
        _ => "another kind of PEM block",
    }
}

pub(super) fn encode(seed: &Seed) -> io::Result<Zeroizing<String>> {
    // Version 1, without the public key: every reader supports it.
    let key = KeypairBytes { secret_key: **seed, public_key: None };
    key.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
