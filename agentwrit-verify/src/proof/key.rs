//! Keys of proofs: the `jwk` of the header.

use agentwrit_json::{CowStr, IsPresent, Object};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;

use super::ProofError;
#[cfg(feature = "es256")]
use super::es256;
use crate::{keys, thumbprint::Thumbprint};

/// Values of `alg` that are accepted, separated by spaces, for the parameter `algs` of a challenge (RFC 9449 §7.1): see
/// [`ProofVerifier::algorithms`](super::ProofVerifier::algorithms).
pub const ALGORITHMS: &str = "EdDSA Ed25519";

/// Algorithms whose proofs a verifier accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Ed25519,
    #[cfg(feature = "es256")]
    Ed25519AndEs256,
}

impl Accepted {
    /// Returns true when signatures by the key are accepted.
    pub(super) const fn include(self, key: &ProofKey) -> bool {
        match (self, key) {
            (_, ProofKey::Ed25519(_)) => true,
            #[cfg(feature = "es256")]
            (accepted, ProofKey::P256(_)) => matches!(accepted, Self::Ed25519AndEs256),
        }
    }

    pub(super) const fn names(self) -> &'static str {
        match self {
            Self::Ed25519 => ALGORITHMS,
            #[cfg(feature = "es256")]
            Self::Ed25519AndEs256 => "EdDSA Ed25519 ES256",
        }
    }
}

/// A public key as a header contains it: of the right form, not yet decoded to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublicJwk {
    Ed25519([u8; 32]),
    #[cfg(feature = "es256")]
    P256(es256::Point),
}

impl PublicJwk {
    pub(super) fn thumbprint(&self) -> Thumbprint {
        match self {
            Self::Ed25519(bytes) => Thumbprint::of_ed25519(bytes),
            #[cfg(feature = "es256")]
            Self::P256(point) => point.thumbprint(),
        }
    }

    /// Decodes the point. Rejects one that is not canonical, of small order or not on the curve.
    pub(super) fn decode(&self) -> Result<ProofKey, ProofError> {
        match self {
            Self::Ed25519(bytes) => {
                keys::decompress(bytes).map(|key| ProofKey::Ed25519(Box::new(key))).ok_or(ProofError::InvalidKey)
            }
            #[cfg(feature = "es256")]
            Self::P256(point) => point.decode().map(|key| ProofKey::P256(Box::new(key))).ok_or(ProofError::InvalidKey),
        }
    }
}

/// A key to verify proofs with.
#[derive(Clone, Debug)]
pub(super) enum ProofKey {
    Ed25519(Box<VerifyingKey>),
    #[cfg(feature = "es256")]
    P256(Box<es256::Key>),
}

impl ProofKey {
    /// Returns true when the signature verifies. Without a table of the key: agents have too many keys that are used too
    /// seldom (`docs/known-key-tables.md`).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        match self {
            Self::Ed25519(key) => keys::verifies(key, message, &Signature::from_bytes(signature)),
            #[cfg(feature = "es256")]
            Self::P256(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// Facts about the sender of a token, from the first accepted proof, kept with the cached token.
#[derive(Clone, Debug)]
pub(crate) struct KnownSender {
    /// Encoded header of the proof: a client sends the same one with each proof.
    pub(super) header: Box<str>,
    pub(super) key: ProofKey,
    /// Hash of the token, as `ath` contains it.
    pub(super) ath: [u8; 43],
}

impl KnownSender {
    /// The longest header that is kept, in bytes: one of the members that proofs need has some 200.
    pub(super) const MAX_HEADER: usize = 384;
}

/// Members of a JWK that are used, and those of private keys (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
#[derive(Deserialize)]
pub(super) struct RawJwk<'a> {
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    kty: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    crv: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    x: Option<CowStr<'a>>,
    #[cfg(feature = "es256")]
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    y: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null", rename = "use")]
    usage: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    key_ops: Option<Vec<CowStr<'a>>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    alg: Option<CowStr<'a>>,
    #[serde(default)]
    d: IsPresent,
    #[serde(default)]
    k: IsPresent,
    #[serde(default)]
    p: IsPresent,
    #[serde(default)]
    q: IsPresent,
    #[serde(default)]
    dp: IsPresent,
    #[serde(default)]
    dq: IsPresent,
    #[serde(default)]
    qi: IsPresent,
    #[serde(default)]
    oth: IsPresent,
}

impl RawJwk<'_> {
    /// Takes the public key for a signature by `algorithm`. Other members are ignored (RFC 7517 §4), except those of a
    /// private key and those that exclude this use.
    pub(super) fn into_key(self, algorithm: &str) -> Result<PublicJwk, ProofError> {
        let private = [self.d, self.k, self.p, self.q, self.dp, self.dq, self.qi, self.oth];
        if private.iter().any(|member| member.0) {
            return Err(ProofError::PrivateKey);
        }
        let excluded = self.usage.is_some_and(|usage| usage.0 != "sig")
            || self.key_ops.is_some_and(|ops| ops.iter().all(|op| op.0 != "verify"));
        let kind = (self.kty.as_ref().map(|kty| &*kty.0), self.crv.as_ref().map(|crv| &*crv.0));
        let (algorithms, key): (&[&str], _) = match kind {
            (Some("OKP"), Some("Ed25519")) => (&["EdDSA", "Ed25519"], PublicJwk::Ed25519(coordinate(self.x)?)),
            #[cfg(feature = "es256")]
            (Some("EC"), Some("P-256")) => {
                (&["ES256"], PublicJwk::P256(es256::Point { x: coordinate(self.x)?, y: coordinate(self.y)? }))
            }
            _ => return Err(ProofError::InvalidKey),
        };
        let fits = |name: &str| algorithms.contains(&name);
        if excluded || !fits(algorithm) || self.alg.is_some_and(|alg| !fits(&alg.0)) {
            return Err(ProofError::InvalidKey);
        }
        Ok(key)
    }
}

fn coordinate(member: Option<CowStr<'_>>) -> Result<[u8; 32], ProofError> {
    let mut bytes = [0; 32];
    let text = member.filter(|text| text.0.len() == 43).ok_or(ProofError::InvalidKey)?;
    BASE64URL_NOPAD.decode_mut(text.0.as_bytes(), &mut bytes).map_err(|_| ProofError::InvalidKey)?;
    Ok(bytes)
}

/// The member `jwk` of a header.
pub(super) type JwkMember<'a> = Object<RawJwk<'a>>;
