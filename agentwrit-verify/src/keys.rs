//! Trusted keys.
//!
//! 1. A key set is parsed from a JWK Set (RFC 7517 §5, RFC 8037 §2). Keys of other types or uses are skipped, as RFC
//!    7517 requires; an Ed25519 signing key that is malformed, of small order or has a duplicate `kid` rejects the set.
//! 2. A key has its canonical encoding (RFC 8032 §5.1.3) and is not of small order. Both are checked once, on load:
//!    verification with canonical `S` and an `R` that is not of small order is then as strict as `verify_strict`, and
//!    cheaper.
//! 3. A set is immutable. [`TrustedKeys`](crate::TrustedKeys) publishes the current one.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use agentwrit_json::Object;
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use crate::{
    key_table::{KeyTable, MAX_TABLES},
    thumbprint::Thumbprint,
};

/// Key id (`kid`): 1 to 128 printable ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Box<str>);

impl KeyId {
    /// Takes a text that is 1 to 128 printable ASCII characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (matches!(text.len(), 1..=128) && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The thumbprint of an Ed25519 key (RFC 7638 §3, RFC 8037 appendix A.3).
    #[must_use]
    pub fn thumbprint(public_key: &[u8; 32]) -> Self {
        Self(Thumbprint::of_ed25519(public_key).to_string().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// An Ed25519 key to verify with, and its name. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Arc<NamedKey>);

#[derive(Debug)]
struct NamedKey {
    id: KeyId,
    key: VerifyingKey,
    /// The header of the tokens that our brokers sign with it, encoded: recognising it saves reading it.
    usual_header: Box<str>,
    /// Empty until a set with the key is in force, `None` where tables are off.
    table: OnceLock<Option<KeyTable>>,
}

impl PartialEq for NamedKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, &self.key) == (&other.id, &other.key)
    }
}

impl Eq for NamedKey {}

impl PublicKey {
    /// A key named by its thumbprint, from the 32 bytes of RFC 8032 §5.1.2.
    ///
    /// # Errors
    ///
    /// [`KeySetError::InvalidKey`] or [`KeySetError::SmallOrder`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeySetError> {
        Self::named(KeyId::thumbprint(bytes), bytes)
    }

    fn named(id: KeyId, bytes: &[u8; 32]) -> Result<Self, KeySetError> {
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
        Ok(Self(Arc::new(NamedKey { id, key, usual_header, table: OnceLock::new() })))
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.0.id
    }

    pub(crate) fn usual_header(&self) -> &str {
        &self.0.usual_header
    }

    /// Returns the thumbprint, whatever the key's name is.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of_ed25519(self.as_bytes())
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.key.as_bytes()
    }

    /// Returns true when `signature` over `message` verifies, with canonical `S` and no point of small order.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        let NamedKey { key, table, .. } = &*self.0;
        match table.get() {
            Some(Some(table)) => !is_small_order(signature.r_bytes()) && table.verifies(key, message, &signature),
            Some(None) | None => verifies(key, message, &signature),
        }
    }

    /// Computes the table of the key, once for all clones: 0.2 ms.
    fn build_table(&self) {
        self.0.table.get_or_init(|| Some(KeyTable::new(&self.0.key)));
    }

    #[cfg(test)]
    pub(crate) fn has_table(&self) -> bool {
        matches!(self.0.table.get(), Some(Some(_)))
    }

    /// The same key, verified without a table.
    fn without_table(&self) -> Self {
        let NamedKey { id, key, usual_header, .. } = &*self.0;
        Self(Arc::new(NamedKey {
            id: id.clone(),
            key: *key,
            usual_header: usual_header.clone(),
            table: OnceLock::from(None),
        }))
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

pub(crate) fn verifies(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
    !is_small_order(signature.r_bytes()) && key.verify(message, signature).is_ok()
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

/// Set of one to [`KeySet::MAX_KEYS`] keys with different ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet(Box<[PublicKey]>);

impl KeySet {
    /// The largest number of keys.
    pub const MAX_KEYS: usize = 64;
    /// The largest JWK Set that is read, in bytes.
    pub const MAX_JWKS_LENGTH: usize = 64 * 1024;

    /// Collects keys.
    ///
    /// # Errors
    ///
    /// [`KeySetError::Empty`], [`KeySetError::TooMany`] or [`KeySetError::Duplicate`].
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, KeySetError> {
        let mut kept: Vec<PublicKey> = Vec::new();
        for key in keys {
            if kept.len() >= Self::MAX_KEYS {
                return Err(KeySetError::TooMany);
            }
            if kept.iter().any(|other| other.id() == key.id()) {
                return Err(KeySetError::Duplicate { kid: key.id().clone() });
            }
            kept.push(key);
        }
        if kept.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(kept.into())) }
    }

    /// Reads a JWK Set of at most [`KeySet::MAX_JWKS_LENGTH`] bytes.
    ///
    /// # Errors
    ///
    /// [`KeySetError`] names the key that is at fault.
    pub fn from_jwks(text: &[u8]) -> Result<Self, KeySetError> {
        if text.len() > Self::MAX_JWKS_LENGTH {
            return Err(KeySetError::TooLong { length: text.len() });
        }
        let set: JwkSet = agentwrit_json::object_from_slice(text, 16)
            .map_err(|error| KeySetError::Malformed { message: error.to_string() })?;
        let keys: Vec<PublicKey> = set.keys.into_iter().map(|Object(key)| key.into_key()).collect::<Result<_, _>>()?;
        Self::new(keys)
    }

    /// Writes a JWK Set.
    #[must_use]
    pub fn to_jwks(&self) -> String {
        let keys = self.iter().map(|key| Object(Jwk::from(key))).collect();
        // Strings always serialise.
        serde_json::to_string(&JwkSet { keys }).unwrap_or_default()
    }

    /// The key of that name.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<&PublicKey> {
        self.iter().find(|key| key.id() == id)
    }

    /// The key for a token: the one that it names, or the only one when it names none.
    #[must_use]
    pub fn select(&self, id: Option<&KeyId>) -> Option<&PublicKey> {
        match (id, self.0.as_ref()) {
            (Some(id), _) => self.find(id),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The same keys, verified without tables. Once a set is in force at a [`Verifier`](crate::Verifier), the first eight of its
    /// keys have a table of multiples each, of 100 KiB, with which a signature is verified in about 0.6 of the time. This is
    /// for processes that lack the memory, and for comparisons: the keys verify the same signatures.
    #[must_use]
    pub fn without_tables(&self) -> Self {
        Self(self.iter().map(PublicKey::without_table).collect())
    }

    /// Computes the tables of the first keys.
    pub(crate) fn build_tables(&self) {
        self.iter().take(MAX_TABLES).for_each(PublicKey::build_table);
    }

    /// Returns true when exactly this key, id and bytes, is in the set.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.find(key.id()).is_some_and(|found| found.as_bytes() == key.as_bytes())
    }

    /// The keys.
    pub fn iter(&self) -> std::slice::Iter<'_, PublicKey> {
        self.0.iter()
    }

    /// Returns the number of keys, which is never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a key set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a KeySet {
    type Item = &'a PublicKey;
    type IntoIter = std::slice::Iter<'a, PublicKey>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[derive(Serialize, Deserialize)]
struct JwkSet {
    #[serde(deserialize_with = "keys_for_verifying")]
    keys: Vec<Object<Jwk>>,
}

/// Parses keys and keeps verification keys, at most one more than a set may have, which suffices for the error.
fn keys_for_verifying<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Object<Jwk>>, D::Error> {
    struct KeysVisitor;

    impl<'de> Visitor<'de> for KeysVisitor {
        type Value = Vec<Object<Jwk>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of keys")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Object<Jwk>>, A::Error> {
            let mut keys = Vec::new();
            while let Some(key) = list.next_element::<Object<Jwk>>()? {
                if key.0.is_for_verifying() && keys.len() <= KeySet::MAX_KEYS {
                    keys.push(key);
                }
            }
            Ok(keys)
        }
    }

    deserializer.deserialize_seq(KeysVisitor)
}

/// Members of a JWK that are used.
#[derive(Serialize, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    crv: String,
    #[serde(
        default,
        rename = "use",
        deserialize_with = "agentwrit_json::non_null",
        skip_serializing_if = "Option::is_none"
    )]
    usage: Option<String>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    key_ops: Option<Vec<String>>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null", skip_serializing_if = "Option::is_none")]
    x: Option<String>,
}

impl Jwk {
    fn is_for_verifying(&self) -> bool {
        self.kty == "OKP"
            && self.crv == "Ed25519"
            && self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && self.alg.as_deref().is_none_or(|alg| matches!(alg, "EdDSA" | "Ed25519"))
    }

    fn into_key(self) -> Result<PublicKey, KeySetError> {
        let kid = self.kid.map(|kid| KeyId::parse(&kid).ok_or(KeySetError::InvalidKeyId)).transpose()?;
        let bytes: Option<[u8; 32]> =
            self.x.and_then(|x| BASE64URL_NOPAD.decode(x.as_bytes()).ok()).and_then(|bytes| bytes.try_into().ok());
        match (kid, bytes) {
            (Some(kid), Some(bytes)) => PublicKey::named(kid, &bytes),
            (None, Some(bytes)) => PublicKey::from_bytes(&bytes),
            (kid, None) => Err(KeySetError::InvalidKey { kid: kid.unwrap_or(KeyId("(unnamed)".into())) }),
        }
    }
}

impl From<&PublicKey> for Jwk {
    fn from(key: &PublicKey) -> Self {
        Self {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            usage: Some("sig".into()),
            key_ops: None,
            alg: Some("EdDSA".into()),
            kid: Some(key.id().as_str().into()),
            x: Some(BASE64URL_NOPAD.encode(key.as_bytes())),
        }
    }
}

/// Reason why a document is not a valid key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Longer than [`KeySet::MAX_JWKS_LENGTH`].
    #[error("a key set is at most 65536 bytes, not {length}")]
    TooLong {
        /// Length of the document in bytes.
        length: usize,
    },
    /// Malformed JWK Set.
    #[error("not a JWK set: {message}")]
    Malformed {
        /// Message of the JSON parser.
        message: String,
    },
    /// No Ed25519 signing key among the keys.
    #[error("there is no Ed25519 signing key in the set")]
    Empty,
    /// More than [`KeySet::MAX_KEYS`].
    #[error("a key set holds at most 64 keys")]
    TooMany,
    /// Two keys of one name.
    #[error("two keys are called `{kid}`")]
    Duplicate {
        /// The name.
        kid: KeyId,
    },
    /// A name that isn't one.
    #[error("a key id is 1 to 128 printable ASCII characters")]
    InvalidKeyId,
    /// `x` isn't an Ed25519 public key.
    #[error("key `{kid}` is not an Ed25519 public key")]
    InvalidKey {
        /// The key's name.
        kid: KeyId,
    },
    /// A key of small order, for which signatures exist that verify for nearly any message.
    #[error("key `{kid}` is of small order")]
    SmallOrder {
        /// The key's name.
        kid: KeyId,
    },
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;
    use sha2::Digest as _;

    use super::*;

    /// RFC 8037 appendix A.1 to A.3.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn jwks(members: &str) -> Vec<u8> {
        format!(r#"{{"keys":[{{{members}}}]}}"#).into_bytes()
    }

    #[test]
    fn thumbprint_equals_example_of_rfc_8037() {
        let set = KeySet::from_jwks(&jwks(&format!(r#""kty":"OKP","crv":"Ed25519","x":"{X}""#))).unwrap();
        let ids: Vec<_> = set.iter().map(|key| key.id().as_str().to_owned()).collect();
        assert_eq!(ids, ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]);
    }

    #[test]
    fn key_set_round_trips() {
        let set = KeySet::from_jwks(&jwks(&format!(r#""kty":"OKP","crv":"Ed25519","x":"{X}""#))).unwrap();
        assert_eq!(
            set.to_jwks(),
            format!(
                r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","x":"{X}"}}]}}"#
            )
        );
        assert_eq!(KeySet::from_jwks(set.to_jwks().as_bytes()), Ok(set));
    }

    #[test]
    fn skips_keys_of_other_types_and_uses() {
        let mixed = format!(
            r#"{{"keys":[{{"kty":"RSA","n":"AQAB","e":"AQAB"}},{{"kty":"OKP","crv":"X25519","x":"AA"}},
            {{"kty":"OKP","crv":"Ed25519","use":"enc","x":"{X}"}},{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}"}}]}}"#
        );
        let set = KeySet::from_jwks(mixed.as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.find(&KeyId::parse("a").unwrap()).is_some());
    }

    #[test]
    fn rejects_malformed_key_sets() {
        let a = || KeyId::parse("a").unwrap();
        let small = BASE64URL_NOPAD.encode(&[&[1_u8][..], &[0; 31]].concat());
        let ed = |x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}"#);
        for (keys, error) in [
            (String::new(), KeySetError::Empty),
            (ed(&small), KeySetError::SmallOrder { kid: a() }),
            (ed("AA"), KeySetError::InvalidKey { kid: a() }),
            (ed(&format!("{X}=")), KeySetError::InvalidKey { kid: a() }),
            (format!("{},{}", ed(X), ed(X)), KeySetError::Duplicate { kid: a() }),
        ] {
            assert_eq!(KeySet::from_jwks(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()), Err(error), "{keys}");
        }
        assert!(matches!(KeySet::from_jwks(b"{}"), Err(KeySetError::Malformed { .. })));
        assert!(matches!(KeySet::from_jwks(&vec![b' '; 70_000]), Err(KeySetError::TooLong { length: 70_000 })));
    }

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
    fn rejects_list_in_place_of_key() {
        let list = format!(r#"{{"keys":[["OKP","Ed25519","sig",["verify"],"EdDSA","a","{X}"]]}}"#);
        assert!(matches!(KeySet::from_jwks(list.as_bytes()), Err(KeySetError::Malformed { .. })));
    }

    #[test]
    fn recognises_points_of_small_order() {
        for y in SMALL_ORDER_Y {
            assert!(VerifyingKey::from_bytes(&y).unwrap().is_weak(), "{y:?}");
            let mut negative = y;
            negative[31] |= 0x80;
            assert!(is_small_order(&y) && is_small_order(&negative));
        }
        assert!(!is_small_order(&BASE64URL_NOPAD.decode(X.as_bytes()).unwrap().try_into().unwrap()));
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
        assert!(public.0.key.verify(b"message", &Signature::from_bytes(&signature)).is_ok(), "dalek's own check");
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

    #[test]
    fn selects_key_without_kid_only_from_set_of_one() {
        let one = PublicKey::from_bytes(&BASE64URL_NOPAD.decode(X.as_bytes()).unwrap().try_into().unwrap()).unwrap();
        let other = PublicKey::named(KeyId::parse("b").unwrap(), one.as_bytes()).unwrap();
        assert!(KeySet::new([one.clone()]).unwrap().select(None).is_some());
        assert!(KeySet::new([one, other]).unwrap().select(None).is_none());
    }
}
