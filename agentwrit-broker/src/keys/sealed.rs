//! Keys of brokers that share a database: rows, sealed under the [`KeyEncryptionKey`].

use std::path::Path;

use agentwrit_verify::{KeyId, PublicKey, UnixTime, issue::SigningKey};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{
    BrokerKeys, Entropy, KeyEncryptionKey, KeyFileError, NonceKey, key_encryption::UnsealError, random, signing,
};
use crate::domain::{KeyPurpose, KeyState, StoredKey};

/// Makes an active key for each purpose.
pub(crate) fn new_sealed_keys(
    kek: &KeyEncryptionKey,
    issuer: &str,
    now: UnixTime,
    entropy: &dyn Entropy,
) -> Result<Vec<StoredKey>, SealedKeyError> {
    seal_keys(kek, issuer, &Zeroizing::new(random(entropy)), &NonceKey::new(random(entropy)), now, entropy)
}

/// Seals the signing key at `path` and the nonce secret beside it, as active keys. Returns none if there is no signing key.
///
/// # Errors
///
/// [`KeyFileError`], with the remedy.
pub(crate) fn seal_key_files(
    path: &Path,
    kek: &KeyEncryptionKey,
    issuer: &str,
    now: UnixTime,
    entropy: &dyn Entropy,
) -> Result<Option<Vec<StoredKey>>, KeyFileError> {
    let Some(seed) = signing::read(path)? else { return Ok(None) };
    let BrokerKeys { nonce_key, .. } = BrokerKeys::from_files(path, entropy)?;
    let sealed = seal_keys(kek, issuer, &seed, &nonce_key, now, entropy);
    sealed.map(Some).map_err(|_| KeyFileError::Corrupt { path: path.into() })
}

/// Seals the seed of a signing key and a nonce key, as active keys.
fn seal_keys(
    kek: &KeyEncryptionKey,
    issuer: &str,
    seed: &Zeroizing<[u8; 32]>,
    nonce_key: &NonceKey,
    now: UnixTime,
    entropy: &dyn Entropy,
) -> Result<Vec<StoredKey>, SealedKeyError> {
    let signing_key = SigningKey::from_seed(seed).map_err(|_| SealedKeyError::Unusable { kid: String::from("new") })?;
    let public = *signing_key.public_key().as_bytes();
    let row = |kid: String, purpose, public, secret: &[u8; 32]| {
        let sealed = kek.seal(&context(issuer, &kid, purpose), secret, entropy);
        StoredKey {
            kid,
            purpose,
            public,
            sealed,
            state: KeyState::Active,
            created_at: now,
            activates_at: None,
            activated_at: Some(now),
            retire_at: None,
            changed_at: now,
            cursor: 0,
        }
    };
    Ok(vec![
        row(signing_key.id().as_str().to_owned(), KeyPurpose::Token, Some(public), seed),
        row(HEXLOWER.encode(&random::<8>(entropy)), KeyPurpose::Nonce, None, nonce_key.expose()),
    ])
}

/// Decrypts the active keys. Checks that every published key is what its row claims.
///
/// # Errors
///
/// [`SealedKeyError`], with the remedy.
pub(crate) fn unseal(kek: &KeyEncryptionKey, issuer: &str, rows: &[StoredKey]) -> Result<BrokerKeys, SealedKeyError> {
    let mut published = Vec::new();
    for row in rows.iter().filter(|row| row.purpose == KeyPurpose::Token && row.state.is_published()) {
        published.push(signing_key(kek, issuer, row)?.public_key().clone());
    }
    let signing_key = signing_key(kek, issuer, active(rows, KeyPurpose::Token)?)?;
    let nonce_key = NonceKey::new(*secret(kek, issuer, active(rows, KeyPurpose::Nonce)?)?);
    Ok(BrokerKeys { signing_key, published, nonce_key })
}

fn active(rows: &[StoredKey], purpose: KeyPurpose) -> Result<&StoredKey, SealedKeyError> {
    let mut found = rows.iter().filter(|row| row.purpose == purpose && row.state == KeyState::Active);
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(SealedKeyError::SeveralActive { purpose: purpose.as_str() }),
        (None, _) => Err(SealedKeyError::NoneActive { purpose: purpose.as_str() }),
    }
}

/// Decrypts a signing key. Its public key must be that of its row, and its id the thumbprint, or another key was put there.
fn signing_key(kek: &KeyEncryptionKey, issuer: &str, row: &StoredKey) -> Result<SigningKey, SealedKeyError> {
    let changed = || SealedKeyError::Changed { kid: row.kid.clone() };
    let key = SigningKey::from_seed(&*secret(kek, issuer, row)?).map_err(|_| changed())?;
    let public: Option<PublicKey> = row.public.as_ref().and_then(|public| PublicKey::from_bytes(public).ok());
    let is_right = public.as_ref() == Some(key.public_key()) && row.kid == KeyId::as_str(key.id());
    if is_right { Ok(key) } else { Err(changed()) }
}

fn secret(kek: &KeyEncryptionKey, issuer: &str, row: &StoredKey) -> Result<Zeroizing<[u8; 32]>, SealedKeyError> {
    let kid = || row.kid.clone();
    let opened = kek.unseal(&context(issuer, &row.kid, row.purpose), &row.sealed).map_err(|error| match error {
        UnsealError::WrongKey => SealedKeyError::WrongKey { kid: kid() },
        UnsealError::Changed => SealedKeyError::Changed { kid: kid() },
    })?;
    opened.as_slice().try_into().map(Zeroizing::new).map_err(|_| SealedKeyError::Changed { kid: kid() })
}

/// Returns what a seal is bound to. Lengths keep one member from passing for the end of another.
fn context(issuer: &str, kid: &str, purpose: KeyPurpose) -> Vec<u8> {
    let mut context = b"agentwrit-sealed-key-v1".to_vec();
    for member in [issuer, kid, purpose.as_str()] {
        context.extend_from_slice(&(member.len() as u64).to_be_bytes());
        context.extend_from_slice(member.as_bytes());
    }
    context
}

/// Error of keys in the database that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealedKeyError {
    /// The key is sealed under another key-encryption key.
    #[error(
        "the key `{kid}` in the database is sealed under another key-encryption key: set AA_KEY_ENCRYPTION_KEY_PATH to the \
         file that the other brokers of this database use"
    )]
    WrongKey {
        /// Id of the key.
        kid: String,
    },
    /// The row of the key was changed.
    #[error(
        "the key `{kid}` in the database does not open: its row was changed, or comes from a database of another AA_ISSUER; \
         restore the table `signing_keys` from a backup"
    )]
    Changed {
        /// Id of the key.
        kid: String,
    },
    /// No key of a purpose is active.
    #[error("the database has no active {purpose} key: restore the table `signing_keys` from a backup")]
    NoneActive {
        /// The purpose.
        purpose: &'static str,
    },
    /// Several keys of a purpose are active.
    #[error("the database has several active {purpose} keys: restore the table `signing_keys` from a backup")]
    SeveralActive {
        /// The purpose.
        purpose: &'static str,
    },
    /// A key can't sign.
    #[error("the key `{kid}` is not a usable Ed25519 key")]
    Unusable {
        /// Id of the key.
        kid: String,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::SeededEntropy;

    const ISSUER: &str = "https://agentwrit.local";

    fn kek(byte: u8) -> KeyEncryptionKey {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        fs::write(&path, [&[byte; 31][..], &[0]].concat()).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        KeyEncryptionKey::read(&path).unwrap()
    }

    fn rows() -> Vec<StoredKey> {
        new_sealed_keys(&kek(1), ISSUER, UnixTime::from_seconds(1), &SeededEntropy::new(1)).unwrap()
    }

    fn error(rows: &[StoredKey]) -> SealedKeyError {
        unseal(&kek(1), ISSUER, rows).unwrap_err()
    }

    #[test]
    fn new_keys_open_with_key_id_that_is_the_thumbprint() {
        let rows = rows();
        let keys = unseal(&kek(1), ISSUER, &rows).unwrap();
        assert_eq!(keys.signing_key.id().as_str(), rows[0].kid);
        assert_eq!(keys.published, [keys.signing_key.public_key().clone()]);
        assert_eq!(unseal(&kek(1), ISSUER, &rows).unwrap().nonce_key.expose(), keys.nonce_key.expose());
    }

    #[test]
    fn rejects_wrong_key_other_issuer_and_changed_rows() {
        let rows = rows();
        let (kid, nonce_kid) = (rows[0].kid.clone(), rows[1].kid.clone());
        assert_eq!(unseal(&kek(2), ISSUER, &rows).unwrap_err(), SealedKeyError::WrongKey { kid: kid.clone() });
        let changed = SealedKeyError::Changed { kid: kid.clone() };
        assert_eq!(unseal(&kek(1), "https://other.example", &rows).unwrap_err(), changed);
        let with = |index: usize, change: &dyn Fn(&mut StoredKey)| {
            let mut rows = rows.clone();
            change(&mut rows[index]);
            rows
        };
        assert_eq!(error(&with(0, &|row| row.sealed[40] ^= 1)), changed);
        assert_eq!(error(&with(0, &|row| row.public = Some([1; 32]))), changed);
        assert_eq!(error(&with(0, &|row| row.sealed = rows[1].sealed.clone())), changed);
        assert_eq!(
            error(&with(1, &|row| row.sealed = rows[0].sealed.clone())),
            SealedKeyError::Changed { kid: nonce_kid }
        );
        assert_eq!(
            error(&with(0, &|row| row.state = KeyState::Retired)),
            SealedKeyError::NoneActive { purpose: "token" }
        );
        let twice: Vec<_> = rows.iter().chain([&rows[0]]).cloned().collect();
        assert_eq!(error(&twice), SealedKeyError::SeveralActive { purpose: "token" });
    }

    #[test]
    fn publishes_prepared_and_retiring_keys_and_signs_with_the_active_one() {
        let mut rows = rows();
        for (seed, state) in [(2, KeyState::Prepared), (3, KeyState::Retiring), (4, KeyState::Withdrawn)] {
            let more = new_sealed_keys(&kek(1), ISSUER, UnixTime::from_seconds(2), &SeededEntropy::new(seed)).unwrap();
            rows.extend(more.into_iter().take(1).map(|row| StoredKey { state, ..row }));
        }
        let keys = unseal(&kek(1), ISSUER, &rows).unwrap();
        assert_eq!(keys.signing_key.id().as_str(), rows[0].kid);
        let published: Vec<_> = keys.published.iter().map(|key| key.id().as_str()).collect();
        assert_eq!(published, [&rows[0].kid, &rows[2].kid, &rows[3].kid]);
    }
}
