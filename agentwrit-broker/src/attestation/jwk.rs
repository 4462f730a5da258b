//! Key sets of issuers (RFC 7517), and the choice of a token's key.
//!
//! 1. The key decides the algorithm: RSA keys of 2048 to 4096 bits verify `RS256`, P-256 keys `ES256`, Ed25519 keys `EdDSA`. A
//!    token whose header names another algorithm is rejected (RFC 8725 §3.1). Symmetric keys are never used.
//! 2. A key is usable if its `use` is absent or `sig`, `key_ops` is absent or contains `verify`, and `alg` is absent or its
//!    own; for JWT-SVIDs `use` must be `jwt-svid` (SPIFFE Trust Domain and Bundle §4.2.2). Keys that are published with their
//!    private part, malformed keys and weak ones are unusable. Unusable keys are left out; the others stay in force.
//! 3. A token without `kid` is accepted only if the set has exactly one usable key.
//! 4. A `kid` that several usable keys of one algorithm have names none of them: a provider that lets two tenants choose the
//!    same id must not let one sign for the other. The other keys of the set stay in force. The same key twice is one key.
//! 5. A set has at most 64 keys.

use std::fmt;

use agentwrit_json::{IsPresent, JsonError, Object, non_null, object_from_slice};
use agentwrit_protocol::AttestationKind;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;
use jsonwebtoken::{DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::error::AttestationError;

/// Largest number of keys in a set, unusable ones included.
const MAX_KEYS: usize = 64;
/// Longest `kid` in bytes.
pub(super) const MAX_KEY_ID: usize = 256;
/// Levels of objects and arrays in a key set.
const MAX_DEPTH: usize = 16;
/// Sizes of RSA keys in bits: less is weak (RFC 7518 §3.3), more costs too much time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// Returns the algorithm of an `alg` member.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Tokens that a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Tokens of an `OpenID` provider or an API server: `use` is `sig` or absent.
    Signature,
    /// JWT-SVIDs: `use` is `jwt-svid`.
    JwtSvid,
}

impl Purpose {
    /// Returns the purpose of the keys that sign tokens of a kind.
    pub(super) fn of(kind: AttestationKind) -> Self {
        match kind {
            AttestationKind::Oidc | AttestationKind::Kubernetes => Self::Signature,
            AttestationKind::Spiffe => Self::JwtSvid,
        }
    }
}

/// Usable keys of an issuer.
#[derive(Clone, Debug, Default)]
pub(crate) struct JwkSet {
    keys: Vec<Jwk>,
    /// Number of keys that were left out.
    unusable: usize,
}

/// Public key that verifies one algorithm.
#[derive(Clone)]
pub(super) struct Jwk {
    kid: Option<String>,
    algorithm: Algorithm,
    purpose: Purpose,
    /// Encoded key, to find keys that are in a set twice.
    material: Vec<u8>,
    key: DecodingKey,
}

impl JwkSet {
    /// Reads a key set.
    ///
    /// # Errors
    ///
    /// [`JsonError`] for text that is not a set: not strict JSON, without `keys`, with too many of them, or with members of
    /// wrong types.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, JsonError> {
        let RawSet { keys: RawKeys(keys) } = object_from_slice(text, MAX_DEPTH)?;
        let mut set = Self::default();
        for raw in keys {
            match raw.usable() {
                Some(key) if set.keys.iter().any(|known| known.is_same(&key)) => {}
                Some(key) => set.keys.push(key),
                None => set.unusable += 1,
            }
        }
        Ok(set)
    }

    /// Returns the number of usable keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the number of keys that were left out.
    pub(crate) fn unusable(&self) -> usize {
        self.unusable
    }

    /// Returns whether any usable key signs tokens of this purpose.
    pub(super) fn has_key_for(&self, purpose: Purpose) -> bool {
        self.keys.iter().any(|key| key.purpose == purpose)
    }

    /// Returns whether any usable key has this id.
    pub(super) fn names(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Returns the key of a token: that of its `kid`, or the only one of the set. Its algorithm is the header's.
    pub(super) fn choose(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        purpose: Purpose,
    ) -> Result<&Jwk, AttestationError> {
        let mut of_purpose = self.keys.iter().filter(|key| key.purpose == purpose);
        let Some(kid) = kid else {
            return match (of_purpose.next(), of_purpose.next()) {
                (Some(only), None) if only.algorithm == algorithm => Ok(only),
                (Some(_), None) => Err(AttestationError::WrongAlgorithm),
                (Some(_), Some(_)) => Err(AttestationError::KeyIdMissing),
                (None, _) => Err(AttestationError::UnknownKey),
            };
        };
        let mut named = of_purpose.filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Err(AttestationError::UnknownKey);
        }
        let mut of_algorithm = named.filter(|key| key.algorithm == algorithm);
        match (of_algorithm.next(), of_algorithm.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(AttestationError::AmbiguousKey),
            (None, _) => Err(AttestationError::WrongAlgorithm),
        }
    }
}

impl Jwk {
    /// Verifies a signature, by the algorithm of the key.
    pub(super) fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), AttestationError> {
        // The provider of this crate's choice, whichever the process has as its default.
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm.of_library(), &self.key);
        let verifier = verifier.map_err(|_| AttestationError::BadSignature)?;
        verifier.verify(signed, &signature.to_vec()).map_err(|_| AttestationError::BadSignature)
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid
            && self.algorithm == other.algorithm
            && self.purpose == other.purpose
            && self.material == other.material
    }
}

impl fmt::Debug for Jwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwk")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct RawSet {
    keys: RawKeys,
}

/// At most [`MAX_KEYS`] keys.
struct RawKeys(Vec<RawKey>);

impl<'de> Deserialize<'de> for RawKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = RawKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_KEYS} keys")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawKeys, A::Error> {
                let mut keys = Vec::new();
                while let Some(Object(key)) = list.next_element()? {
                    if keys.len() == MAX_KEYS {
                        return Err(A::Error::custom(format_args!("more than {MAX_KEYS} keys")));
                    }
                    keys.push(key);
                }
                Ok(RawKeys(keys))
            }
        }

        deserializer.deserialize_seq(KeysVisitor)
    }
}

/// Members of a key that matter.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(default, deserialize_with = "non_null")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    alg: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "non_null")]
    usage: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    key_ops: Option<Vec<String>>,
    #[serde(default, deserialize_with = "non_null")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    n: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    e: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    x: Option<String>,
    #[serde(default, deserialize_with = "non_null")]
    y: Option<String>,
    /// Private part.
    #[serde(default)]
    d: IsPresent,
}

impl RawKey {
    fn usable(&self) -> Option<Jwk> {
        let purpose = match self.usage.as_deref() {
            None | Some("sig") => Purpose::Signature,
            Some("jwt-svid") => Purpose::JwtSvid,
            Some(_) => return None,
        };
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let kid = self.kid.clone();
        if !verifies || self.d.0 || kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KEY_ID) {
            return None;
        }
        let (algorithm, material, key) = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => self.rsa()?,
            ("EC", Some("P-256")) => self.p256()?,
            ("OKP", Some("Ed25519")) => self.ed25519()?,
            _ => return None,
        };
        let is_own = |alg| Algorithm::parse(alg) == Some(algorithm);
        self.alg.as_deref().is_none_or(is_own).then_some(Jwk { kid, algorithm, purpose, material, key })
    }

    fn rsa(&self) -> Option<(Algorithm, Vec<u8>, DecodingKey)> {
        let (modulus, exponent) = (decode(self.n.as_deref())?, decode(self.e.as_deref())?);
        // No leading zeros (RFC 7518 §2, Base64urlUInt).
        let first = *modulus.first().filter(|byte| **byte != 0)?;
        let bits = (modulus.len() * 8).checked_sub(usize::try_from(first.leading_zeros()).ok()?)?;
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        // 3 to 2^32: larger exponents only cost time, and 1 makes every message its own signature.
        let is_exponent = exponent.len() <= 4 && exponent.first() != Some(&0) && exponent != [1] && is_odd(&exponent);
        if !RSA_BITS.contains(&bits) || !is_odd(&modulus) || !is_exponent {
            return None;
        }
        let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
        Some((Algorithm::Rs256, [modulus, exponent].concat(), key))
    }

    fn p256(&self) -> Option<(Algorithm, Vec<u8>, DecodingKey)> {
        let coordinate = |member| decode(member).filter(|bytes| bytes.len() == 32);
        let point = [vec![4], coordinate(self.x.as_deref())?, coordinate(self.y.as_deref())?].concat();
        // Rejects points that are not on the curve.
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?;
        let key = DecodingKey::from_ec_der(&point);
        Some((Algorithm::Es256, point, key))
    }

    fn ed25519(&self) -> Option<(Algorithm, Vec<u8>, DecodingKey)> {
        let point: [u8; 32] = decode(self.x.as_deref())?.try_into().ok()?;
        // Any message has a signature by a key of small order.
        VerifyingKey::from_bytes(&point).ok().filter(|key| !key.is_weak())?;
        Some((Algorithm::EdDsa, point.to_vec(), DecodingKey::from_ed_der(&point)))
    }
}

fn decode(member: Option<&str>) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(member?.as_bytes()).ok()
}

#[cfg(test)]
mod tests;
