//! Key that encrypts the brokers' keys in a shared database (AES-256-GCM, RFC 5116), and seals made with it.
//!
//! 1. The key is in a file that every broker of the database has, never in the database: who reads a backup of the database
//!    can't sign tokens.
//! 2. A seal is bound to its context (issuer and row of the key): a row that is moved or changed does not open.
//! 3. A seal names its key by a digest, so that a wrong key file is told apart from a row that was changed.
//!
//! A seal is a version (1), the name of the key (8 bytes), the nonce (12, random), ciphertext and tag (16).

use std::{
    fmt,
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    Entropy,
    private_file::{self, PrivateFileError},
    random,
};

const VERSION: u8 = 1;
const NAME_LENGTH: usize = 8;

/// Key under which other keys are sealed.
pub(crate) struct KeyEncryptionKey(Zeroizing<[u8; 32]>);

impl KeyEncryptionKey {
    /// Reads the key at `path`: 32 bytes, as they are or in hexadecimal or base64.
    ///
    /// # Errors
    ///
    /// [`KeyEncryptionKeyError`], with the remedy.
    pub(crate) fn read(path: &Path) -> Result<Self, KeyEncryptionKeyError> {
        let fault = |fault: String| KeyEncryptionKeyError { path: path.into(), fault };
        let bytes = private_file::read(path).map_err(|error| match error {
            PrivateFileError::Io(error) => fault(format!("cannot be read: {error}")),
            PrivateFileError::NotRegular => fault(String::from("is no regular file")),
            PrivateFileError::Exposed { mode } => fault(format!(
                "is open to others (mode {mode:04o}): run `chmod 600` on it; if another user may have read it and the \
                 database, revoke everything"
            )),
        })?;
        let bytes = bytes.ok_or_else(|| {
            fault(String::from(
                "is missing: copy it from another broker of this database; for a new database make it once with \
                 `(umask 077; openssl rand -hex 32 > FILE)`",
            ))
        })?;
        let key = decode(&bytes)
            .ok_or_else(|| fault(String::from("does not hold 32 bytes, as they are or in hexadecimal or base64")))?;
        if key.iter().all(|byte| Some(byte) == key.first()) {
            return Err(fault(String::from("is not random: make it with `openssl rand -hex 32`")));
        }
        Ok(Self(key))
    }

    /// Encrypts `secret`, which opens with the same context only.
    #[expect(clippy::expect_used, reason = "the key has the length of the algorithm, and the secret is short")]
    pub(crate) fn seal(&self, context: &[u8], secret: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>(entropy);
        let mut text = Zeroizing::new(secret.to_vec());
        let tag = self.cipher().seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut text,
        );
        let tag = tag.expect("AES-GCM encrypts up to 2^36 bytes");
        [&[VERSION][..], &self.name(), &nonce, &text, tag.as_ref()].concat()
    }

    /// Decrypts a seal.
    ///
    /// # Errors
    ///
    /// [`UnsealError`].
    pub(crate) fn unseal(&self, context: &[u8], seal: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let (version, rest) = seal.split_first().ok_or(UnsealError::Changed)?;
        let (name, rest) = rest.split_first_chunk::<NAME_LENGTH>().ok_or(UnsealError::Changed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(UnsealError::Changed)?;
        if *version != VERSION {
            return Err(UnsealError::Changed);
        }
        if *name != self.name() {
            return Err(UnsealError::WrongKey);
        }
        let mut text = Zeroizing::new(rest.to_vec());
        let opened = self.cipher().open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(context), &mut text);
        let length = opened.map_err(|_| UnsealError::Changed)?.len();
        text.truncate(length);
        Ok(text)
    }

    /// Returns a digest that reveals nothing about a guessable `text` to those without the key.
    pub(crate) fn digest(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        let mac = self.mac().chain_update(purpose.as_bytes()).chain_update([0]).chain_update(text);
        mac.finalize().into_bytes().into()
    }

    fn name(&self) -> [u8; NAME_LENGTH] {
        let digest = self.digest("agentwrit-key-encryption-key-v1", &[]);
        digest.first_chunk().copied().unwrap_or_default()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 §2)")]
    fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(&*self.0).expect("HMAC takes a key of any length")
    }

    #[expect(clippy::expect_used, reason = "the key has the length of the algorithm")]
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*self.0).expect("AES-256 takes a key of 32 bytes"))
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyEncryptionKey(…)")
    }
}

fn decode(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    if let Ok(raw) = bytes.try_into() {
        return Some(Zeroizing::new(raw));
    }
    let text = bytes.trim_ascii();
    [HEXLOWER_PERMISSIVE, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD].iter().find_map(|encoding| {
        let decoded = Zeroizing::new(encoding.decode(text).ok()?);
        decoded.as_slice().try_into().ok().map(Zeroizing::new)
    })
}

/// Reason that a seal does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnsealError {
    /// It was made under another key.
    WrongKey,
    /// It or its context was changed.
    Changed,
}

/// Error of a key-encryption key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key-encryption key `{}` (AA_KEY_ENCRYPTION_KEY_PATH) {fault}", path.display())]
pub struct KeyEncryptionKeyError {
    /// The file.
    pub path: PathBuf,
    /// Fault and remedy.
    pub fault: String,
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::keys::SeededEntropy;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn read(content: &[u8], mode: u32) -> Result<KeyEncryptionKey, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        KeyEncryptionKey::read(&path).map_err(|error| error.fault)
    }

    fn key() -> KeyEncryptionKey {
        read(HEX.as_bytes(), 0o600).unwrap()
    }

    #[test]
    fn reads_same_key_raw_in_hexadecimal_and_in_base64() {
        let raw: Vec<u8> = (0..32).collect();
        let texts = [
            raw.clone(),
            HEX.to_owned().into_bytes(),
            format!("{}\n", HEX.to_uppercase()).into_bytes(),
            format!("{}\n", BASE64.encode(&raw)).into_bytes(),
            BASE64URL_NOPAD.encode(&raw).into_bytes(),
        ];
        for text in texts {
            assert_eq!(read(&text, 0o600).unwrap().0.as_slice(), raw);
        }
    }

    #[test]
    fn rejects_file_that_is_missing_open_to_others_short_or_not_random() {
        let missing = KeyEncryptionKey::read(Path::new("/missing/kek")).unwrap_err();
        assert!(missing.to_string().contains("openssl rand -hex 32"), "{missing}");
        assert!(read(HEX.as_bytes(), 0o644).unwrap_err().contains("open to others (mode 0644)"));
        for content in [&HEX.as_bytes()[..62], b"", b"secret", &[7; 33]] {
            assert!(read(content, 0o600).unwrap_err().contains("does not hold 32 bytes"));
        }
        assert!(read(&[0; 32], 0o600).unwrap_err().contains("not random"));
    }

    #[test]
    fn seal_opens_under_its_key_in_its_context_only() {
        let seal = key().seal(b"context", b"secret", &SeededEntropy::new(1));
        assert_eq!(key().unseal(b"context", &seal).unwrap().as_slice(), b"secret");
        assert_eq!(key().unseal(b"other", &seal), Err(UnsealError::Changed));
        let other = read(&[[1; 31].as_slice(), &[2]].concat(), 0o600).unwrap();
        assert_eq!(other.unseal(b"context", &seal), Err(UnsealError::WrongKey));
        assert_eq!(key().unseal(b"context", &[]), Err(UnsealError::Changed));
    }

    #[test]
    fn seal_with_any_changed_byte_does_not_open() {
        let seal = key().seal(b"context", b"secret", &SeededEntropy::new(1));
        for index in 0..seal.len() {
            let mut changed = seal.clone();
            changed[index] ^= 1;
            assert!(key().unseal(b"context", &changed).is_err(), "byte {index}");
        }
    }

    #[test]
    fn debug_output_omits_key() {
        assert_eq!(format!("{:?}", key()), "KeyEncryptionKey(…)");
    }
}
