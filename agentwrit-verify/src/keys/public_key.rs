//! Keys, and signatures by them: rule 2 of [`keys`](super).

use std::{fmt, sync::Arc};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

use super::{error::KeySetError, key_id::KeyId};
use crate::{
    key_table::{KeyTable, canonical_s},
    thumbprint::Thumbprint,
};

/// An Ed25519 key to verify with, and its name. Clones share it.
#[derive(Clone)]
pub struct PublicKey {
    named: Arc<NamedKey>,
    multiples: Multiples,
}

#[derive(Debug, PartialEq, Eq)]
struct NamedKey {
    id: KeyId,
    key: VerifyingKey,
    /// The header of the tokens that our brokers sign with it, encoded: recognising it saves reading it.
    usual_header: Box<str>,
}

/// Whether signatures are verified with multiples of the key.
#[derive(Clone)]
enum Multiples {
    /// Not computed: the key is not in force, or too many others have a table.
    Absent,
    /// Turned off.
    Off,
    Known(Arc<KeyTable>),
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.named == other.named
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.named).finish()
    }
}

impl PublicKey {
    /// A key named by its thumbprint, from the 32 bytes of RFC 8032 §5.1.2.
    ///
    /// # Errors
    ///
    /// [`KeySetError::InvalidKey`] or [`KeySetError::SmallOrder`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeySetError> {
        Self::named(KeyId::thumbprint(bytes), bytes)
    }

    pub(super) fn named(id: KeyId, bytes: &[u8; 32]) -> Result<Self, KeySetError> {
        // dalek reduces a `y` that is not below the prime.
        let Ok(key) = VerifyingKey::from_bytes(bytes) else { return Err(KeySetError::InvalidKey { kid: id }) };
        if !is_canonical(bytes) {
            return Err(KeySetError::InvalidKey { kid: id });
        }
        if key.is_weak() {
            return Err(KeySetError::SmallOrder { kid: id });
        }
        // Encoded as JSON: a `kid` with a quote must not add members to the header that is compared.
        let kid = serde_json::Value::from(id.as_str());
        let header = format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":{kid}}}"#);
        let usual_header = BASE64URL_NOPAD.encode(header.as_bytes()).into();
        Ok(Self { named: Arc::new(NamedKey { id, key, usual_header }), multiples: Multiples::Absent })
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.named.id
    }

    pub(crate) fn usual_header(&self) -> &str {
        &self.named.usual_header
    }

    /// Returns the thumbprint, whatever the key's name is.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of_ed25519(self.as_bytes())
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.named.key.as_bytes()
    }

    /// Returns true when `signature` over `message` verifies, with canonical `S` and no point of small order.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        let key = &self.named.key;
        match &self.multiples {
            Multiples::Known(table) => !is_small_order(signature.r_bytes()) && table.verifies(key, message, &signature),
            Multiples::Absent | Multiples::Off => verifies(key, message, &signature),
        }
    }

    /// Returns whether each signature over its message verifies as with [`verifies`](Self::verifies). With a table, several take
    /// less time than one after the other.
    pub(crate) fn verifies_each(&self, signed: &[(&[u8], [u8; 64])]) -> Vec<bool> {
        let Multiples::Known(table) = &self.multiples else {
            return signed.iter().map(|(message, signature)| self.verifies(message, signature)).collect();
        };
        let signed: Vec<_> =
            signed.iter().map(|(message, signature)| (*message, Signature::from_bytes(signature))).collect();
        let are_valid = table.verifies_each(&self.named.key, &signed);
        are_valid.into_iter().zip(&signed).map(|(is_valid, (_, r))| is_valid && !is_small_order(r.r_bytes())).collect()
    }

    /// Returns the key with a table, unless tables are off: its own, that of the same key among `known`, or a new one, which
    /// takes 0.155 ms.
    pub(crate) fn with_table(self, known: &[Self]) -> Self {
        let Multiples::Absent = self.multiples else { return self };
        let mut same = known.iter().filter(|known| known.as_bytes() == self.as_bytes());
        let table = same.find_map(Self::table).cloned();
        let table = table.unwrap_or_else(|| Arc::new(KeyTable::new(&self.named.key)));
        Self { multiples: Multiples::Known(table), ..self }
    }

    pub(crate) fn table(&self) -> Option<&Arc<KeyTable>> {
        match &self.multiples {
            Multiples::Known(table) => Some(table),
            Multiples::Absent | Multiples::Off => None,
        }
    }

    /// Returns the key without its table, for one that is kept to be compared.
    pub(crate) fn without_table(&self) -> Self {
        let multiples = match self.multiples {
            Multiples::Known(_) | Multiples::Absent => Multiples::Absent,
            Multiples::Off => Multiples::Off,
        };
        Self { named: Arc::clone(&self.named), multiples }
    }

    /// Returns the key such that it never has a table.
    pub(super) fn never_with_table(&self) -> Self {
        Self { named: Arc::clone(&self.named), multiples: Multiples::Off }
    }

    /// Returns true when `signature` over `message` verifies under the key of these bytes, as strictly as with
    /// [`verifies`](Self::verifies). None for bytes that are no key, or one of small order. For a key that is used once,
    /// as that of an agent that registers at a broker: [`from_bytes`](Self::from_bytes) computes its name too.
    #[must_use]
    pub fn verifies_once(bytes: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Option<bool> {
        let key = decompress(bytes)?;
        Some(verifies(&key, message, &Signature::from_bytes(signature)))
    }
}

/// Decodes a key. `None` for bytes that are no key, not its canonical encoding, or one of small order.
pub(crate) fn decompress(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    VerifyingKey::from_bytes(bytes).ok().filter(|key| is_canonical(bytes) && !key.is_weak())
}

/// Removes the tables of all but the first `most` keys that have one. Returns how many fewer than `most` there are.
pub(crate) fn limit_tables(keys: &mut [PublicKey], most: usize) -> usize {
    let mut left = most;
    for key in keys.iter_mut().filter(|key| key.table().is_some()) {
        match left.checked_sub(1) {
            Some(fewer) => left = fewer,
            None => *key = key.without_table(),
        }
    }
    left
}

pub(crate) fn verifies(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    // dalek accepts another `S` of the same signature where some crate turned its feature `legacy_compatibility` on.
    !is_small_order(signature.r_bytes()) && canonical_s(signature).is_some() && key.verify(message, signature).is_ok()
}

/// Returns whether the encoded `y` is below the field's prime 2^255 - 19 (RFC 8032 §5.1.3): one key has one spelling.
fn is_canonical(key: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = key;
    highest & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff) || *lowest < 0xed
}

/// Returns true when `R` is one of the eight points of small order, in canonical encoding: only the holder of the key
/// can sign so, and no honest signer does.
fn is_small_order(r: &[u8; 32]) -> bool {
    let mut y = *r;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER_Y.contains(&y)
}

/// Encoded `y` of the points whose order divides 8: of order 4, 1 and 2, and twice of order 8.
#[rustfmt::skip]
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    [0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
     0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05],
    [0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
     0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a],
];

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;
    use sha2::Digest as _;

    use super::*;

    #[test]
    fn rejects_key_in_non_canonical_encoding() {
        // y = 3 is a point of large order; p + 3 is the same number, one spelling too many.
        let mut spelt = [0; 32];
        spelt[0] = 3;
        assert!(PublicKey::from_bytes(&spelt).is_ok());
        spelt = [0xff; 32];
        (spelt[0], spelt[31]) = (0xf0, 0x7f);
        assert!(!VerifyingKey::from_bytes(&spelt).unwrap().is_weak());
        assert!(matches!(PublicKey::from_bytes(&spelt), Err(KeySetError::InvalidKey { .. })));
    }

    #[test]
    fn recognises_points_of_small_order() {
        for y in SMALL_ORDER_Y {
            assert!(VerifyingKey::from_bytes(&y).unwrap().is_weak(), "{y:?}");
            let mut negative = y;
            negative[31] |= 0x80;
            assert!(is_small_order(&y) && is_small_order(&negative));
        }
        assert!(!is_small_order(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes()));
    }

    /// `R` is the identity and `S` is `k·a`: it satisfies the equation, and gives the private key away.
    #[test]
    fn rejects_signature_with_r_of_small_order() {
        let private = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let public = PublicKey::from_bytes(private.verifying_key().as_bytes()).unwrap();
        let mut r = [0; 32];
        r[0] = 1;
        let hashed = sha2::Sha512::new().chain_update(r).chain_update(public.as_bytes()).chain_update("message");
        let k = curve25519_dalek::Scalar::from_bytes_mod_order_wide(&hashed.finalize().into());
        let s = k * private.to_scalar();
        let signature: [u8; 64] = [r, s.to_bytes()].concat().try_into().unwrap();
        assert!(public.named.key.verify(b"message", &Signature::from_bytes(&signature)).is_ok(), "dalek's own check");
        assert!(!public.verifies(b"message", &signature));
        assert_eq!(PublicKey::verifies_once(public.as_bytes(), b"message", &signature), Some(false));
    }

    #[test]
    fn verifies_once_as_strictly_as_key_of_set() {
        let private = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let (key, signature) = (private.verifying_key().to_bytes(), private.sign(b"message").to_bytes());
        let verified = |key: &[u8; 32], message: &[u8]| PublicKey::verifies_once(key, message, &signature);
        assert_eq!((verified(&key, b"message"), verified(&key, b"another")), (Some(true), Some(false)));
        let (mut small, mut reduced) = ([0; 32], [0xff; 32]);
        (small[0], reduced[0], reduced[31]) = (1, 0xf0, 0x7f);
        assert_eq!([small, reduced].map(|key| verified(&key, b"message")), [None, None]);
    }
}
