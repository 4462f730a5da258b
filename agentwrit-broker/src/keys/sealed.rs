//! Keys of brokers that share a database: rows, sealed under the [`KeyEncryptionKey`].
//!
//! 1. A seal is bound to the whole row: a key whose state or times were changed in the database does not open.
//! 2. A row that is put back as it was before opens again. The store keeps apart from the rows which keys ended, and rows that lack
//!    their latest change are rejected ([`check_complete`]).

use agentwrit_verify::{PublicKey, UnixTime, issue::SigningKey};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::{
    Entropy, KeyEncryptionKey, NonceKey,
    key_encryption::UnsealError,
    random,
    row::new_row,
    signing::{self, Seed},
};
use crate::{
    audit::Timestamp,
    domain::{KeyPurpose, KeyState, StoredKey},
};

/// Seals and opens the keys of an issuer.
#[derive(Debug)]
pub(crate) struct SealedKeys {
    kek: KeyEncryptionKey,
    issuer: String,
}

impl SealedKeys {
    pub(crate) fn new(kek: KeyEncryptionKey, issuer: &str) -> Self {
        Self { kek, issuer: issuer.to_owned() }
    }

    /// Makes an active key for each purpose.
    pub(crate) fn first_keys(&self, now: UnixTime, entropy: &dyn Entropy) -> Result<Vec<StoredKey>, SealedKeyError> {
        let (token, seed) = new_key(now, entropy)?;
        let token = StoredKey { state: KeyState::Active, activated_at: Some(now), ..token };
        let nonce = self.nonce_row(&NonceKey::new(random(entropy)), now, entropy);
        Ok(vec![self.seal(token, &seed, entropy), nonce])
    }

    /// Makes a prepared key.
    pub(super) fn make(&self, now: UnixTime, entropy: &dyn Entropy) -> Result<StoredKey, SealedKeyError> {
        let (row, seed) = new_key(now, entropy)?;
        Ok(self.seal(row, &seed, entropy))
    }

    /// Returns the row of a nonce key.
    pub(super) fn nonce_row(&self, key: &NonceKey, now: UnixTime, entropy: &dyn Entropy) -> StoredKey {
        let row = StoredKey {
            kid: HEXLOWER.encode(&random::<8>(entropy)),
            purpose: KeyPurpose::Nonce,
            public: None,
            sealed: Vec::new(),
            state: KeyState::Active,
            created_at: now,
            activates_at: None,
            activated_at: Some(now),
            retire_at: None,
            changed_at: now,
            cursor: 0,
        };
        self.seal(row, &Zeroizing::new(*key.expose()), entropy)
    }

    /// Seals a secret together with its row.
    pub(super) fn seal(&self, row: StoredKey, secret: &Seed, entropy: &dyn Entropy) -> StoredKey {
        let sealed = self.kek.seal(&self.context(&row), &**secret, entropy);
        StoredKey { sealed, ..row }
    }

    /// Seals the secret of `before` together with `after`.
    pub(super) fn reseal(
        &self,
        before: &StoredKey,
        after: StoredKey,
        entropy: &dyn Entropy,
    ) -> Result<StoredKey, SealedKeyError> {
        let secret = self.secret(before)?;
        Ok(self.seal(after, &secret, entropy))
    }

    /// Decrypts a signing key. Its public key must be that of its row, and its id the thumbprint, or another key was put there.
    pub(super) fn open(&self, row: &StoredKey) -> Result<SigningKey, SealedKeyError> {
        let changed = || SealedKeyError::Changed { kid: row.kid.clone() };
        let key = SigningKey::from_seed(&*self.secret(row)?).map_err(|_| changed())?;
        let public: Option<PublicKey> = row.public.as_ref().and_then(|public| PublicKey::from_bytes(public).ok());
        let is_right = public.as_ref() == Some(key.public_key()) && row.kid == key.id().as_str();
        if is_right { Ok(key) } else { Err(changed()) }
    }

    /// Decrypts the active nonce key.
    ///
    /// # Errors
    ///
    /// [`SealedKeyError`], with the remedy.
    pub(crate) fn nonce_key(&self, rows: &[StoredKey]) -> Result<NonceKey, SealedKeyError> {
        let purpose = KeyPurpose::Nonce;
        let mut active = rows.iter().filter(|row| row.purpose == purpose && row.state == KeyState::Active);
        match (active.next(), active.next()) {
            (Some(row), None) => Ok(NonceKey::new(*self.secret(row)?)),
            (Some(_), Some(_)) => Err(SealedKeyError::SeveralActive { purpose: purpose.as_str() }),
            (None, _) => Err(SealedKeyError::NoneActive { purpose: purpose.as_str() }),
        }
    }

    /// Returns true if the secret of a row opens.
    pub(super) fn opens(&self, row: &StoredKey) -> bool {
        self.secret(row).is_ok()
    }

    fn secret(&self, row: &StoredKey) -> Result<Seed, SealedKeyError> {
        let kid = || row.kid.clone();
        let opened = self.kek.unseal(&self.context(row), &row.sealed).map_err(|error| match error {
            UnsealError::WrongKey => SealedKeyError::WrongKey { kid: kid() },
            UnsealError::Changed => SealedKeyError::Changed { kid: kid() },
        })?;
        opened.as_slice().try_into().map(Zeroizing::new).map_err(|_| SealedKeyError::Changed { kid: kid() })
    }

    /// Returns what the seal of a row is bound to. Lengths keep one member from passing for the end of another.
    fn context(&self, row: &StoredKey) -> Vec<u8> {
        let mut context = b"agentwrit-sealed-key-v2".to_vec();
        for member in [&self.issuer, &row.kid, row.purpose.as_str(), row.state.as_str()] {
            context.extend_from_slice(&(member.len() as u64).to_be_bytes());
            context.extend_from_slice(member.as_bytes());
        }
        let times = [Some(row.created_at), row.activates_at, row.activated_at, row.retire_at, Some(row.changed_at)];
        for time in times {
            // As the database keeps it. A missing time differs from each time.
            let micros = time.map_or(-1, |time| Timestamp::from(time).0);
            context.extend_from_slice(&micros.to_be_bytes());
        }
        context.extend_from_slice(&row.cursor.to_be_bytes());
        context
    }
}

/// Rejects rows that lack the latest change of the keys, which has this cursor: the table was put back as it was before.
pub(crate) fn check_complete(rows: &[StoredKey], keys_cursor: u64) -> Result<(), SealedKeyError> {
    let newest = rows.iter().max_by_key(|row| (row.state == KeyState::Active, row.cursor));
    match newest {
        Some(newest) if rows.iter().all(|row| row.cursor < keys_cursor) => {
            Err(SealedKeyError::Outdated { kid: newest.kid.clone() })
        }
        _ => Ok(()),
    }
}

/// Returns the row of a new key, and its secret.
fn new_key(now: UnixTime, entropy: &dyn Entropy) -> Result<(StoredKey, Seed), SealedKeyError> {
    let seed = signing::new_seed(entropy);
    let key = SigningKey::from_seed(&seed).map_err(|_| SealedKeyError::Unusable)?;
    Ok((new_row(&key, now), seed))
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
         if AA_ISSUER is right, replace the key with `agentwrit-broker withdraw-key {kid}`"
    )]
    Changed {
        /// Id of the key.
        kid: String,
    },
    /// No key of a purpose is active.
    #[error(
        "the database has no active {purpose} key: `agentwrit-broker withdraw-key KID`, with the id of the last one, makes a \
         new one"
    )]
    NoneActive {
        /// The purpose.
        purpose: &'static str,
    },
    /// Several keys of a purpose are active.
    #[error(
        "the database has several active {purpose} keys: withdraw those that were put back with \
         `agentwrit-broker withdraw-key KID`"
    )]
    SeveralActive {
        /// The purpose.
        purpose: &'static str,
    },
    /// A row says that its key is active, while another key is in force.
    #[error(
        "the row of the key `{kid}` names it as active while another key is in force: it was changed or put back; find out who \
         changes the database"
    )]
    NotInForce {
        /// Id of the key.
        kid: String,
    },
    /// The rows lack the latest change of the keys.
    #[error(
        "the keys in the database are older than their latest change: the table `signing_keys` was put back, and keys in it \
         may have ended; replace its active key with `agentwrit-broker withdraw-key {kid}`"
    )]
    Outdated {
        /// Id of the active key among them, or of another one.
        kid: String,
    },
    /// The random bytes make no key.
    #[error("the random number generator made no usable Ed25519 key")]
    Unusable,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::keys::SeededEntropy;

    const ISSUER: &str = "https://agentwrit.local";

    pub(crate) fn kek(byte: u8) -> KeyEncryptionKey {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        fs::write(&path, [&[byte; 31][..], &[0]].concat()).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        KeyEncryptionKey::read(&path).unwrap()
    }

    fn keys() -> SealedKeys {
        SealedKeys::new(kek(1), ISSUER)
    }

    fn rows() -> Vec<StoredKey> {
        keys().first_keys(UnixTime::from_seconds(1), &SeededEntropy::new(1)).unwrap()
    }

    #[test]
    fn first_keys_open_with_key_id_that_is_the_thumbprint() {
        let rows = rows();
        assert_eq!(keys().open(&rows[0]).unwrap().id().as_str(), rows[0].kid);
        let nonce_key = keys().nonce_key(&rows).unwrap();
        assert_eq!(keys().nonce_key(&rows).unwrap().expose(), nonce_key.expose());
    }

    #[test]
    fn rejects_wrong_key_and_other_issuer() {
        let rows = rows();
        let kid = rows[0].kid.clone();
        let open = |keys: SealedKeys| keys.open(&rows[0]).unwrap_err();
        assert_eq!(open(SealedKeys::new(kek(2), ISSUER)), SealedKeyError::WrongKey { kid: kid.clone() });
        assert_eq!(open(SealedKeys::new(kek(1), "https://other.example")), SealedKeyError::Changed { kid });
    }

    #[test]
    fn rejects_row_with_any_changed_member() {
        let rows = rows();
        let other = UnixTime::from_seconds(9);
        let changes: [&dyn Fn(&mut StoredKey); 11] = [
            &|row| row.sealed[40] ^= 1,
            &|row| row.sealed = rows[1].sealed.clone(),
            &|row| row.public = Some([1; 32]),
            &|row| row.public = None,
            &|row| row.state = KeyState::Retiring,
            &|row| row.created_at = other,
            &|row| row.activates_at = Some(other),
            &|row| row.activated_at = None,
            &|row| row.retire_at = Some(other),
            &|row| row.changed_at = other,
            &|row| row.cursor = 1,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut row = rows[0].clone();
            change(&mut row);
            assert_eq!(keys().open(&row).unwrap_err(), SealedKeyError::Changed { kid: row.kid }, "{number}");
        }
        let mut nonce = rows[1].clone();
        nonce.sealed = rows[0].sealed.clone();
        let rejected = SealedKeyError::Changed { kid: nonce.kid.clone() };
        assert_eq!(keys().nonce_key(&[nonce]).unwrap_err(), rejected);
        let twice = [rows[1].clone(), rows[1].clone()];
        assert_eq!(keys().nonce_key(&twice).unwrap_err(), SealedKeyError::SeveralActive { purpose: "nonce" });
        assert_eq!(keys().nonce_key(&rows[..1]).unwrap_err(), SealedKeyError::NoneActive { purpose: "nonce" });
    }

    #[test]
    fn key_sealed_anew_opens_with_its_new_row_only() {
        let (keys, before) = (keys(), rows().remove(0));
        let retiring =
            StoredKey { state: KeyState::Retiring, retire_at: Some(UnixTime::from_seconds(5)), ..before.clone() };
        let after = keys.reseal(&before, retiring.clone(), &SeededEntropy::new(2)).unwrap();
        assert_eq!(keys.open(&after).unwrap().id(), keys.open(&before).unwrap().id());
        assert_eq!(keys.open(&retiring).unwrap_err(), SealedKeyError::Changed { kid: before.kid });
    }
}
