//! Proofs before verification (RFC 9449 §4.2), decoded strictly.

use std::{borrow::Cow, fmt};

use agentwrit_json::{CowStr, IsPresent, Object};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, de};

use super::{
    ProofError,
    key::{Accepted, JwkMember, PublicJwk},
};
use crate::jws::{self, shorten};

/// The longest proof that is read, in bytes.
pub const MAX_PROOF_LENGTH: usize = 2 * 1024;

/// Nesting up to which header and payload are read.
const MAX_DEPTH: usize = 8;

/// The most structural characters of the JSON of a header or payload, so that junk is refused quickly. A header with every
/// member of RFC 7515 and RFC 7517 that a public key can have has some 80.
const MAX_STRUCTURE: usize = 128;

/// A proof of which only the form is known.
pub(super) struct UnverifiedProof<'a> {
    parts: jws::Parts<'a>,
    signature: [u8; 64],
}

impl<'a> UnverifiedProof<'a> {
    pub(super) fn decode(text: &'a str) -> Result<Self, ProofError> {
        if text.len() > MAX_PROOF_LENGTH {
            return Err(ProofError::TooLong { length: text.len(), limit: MAX_PROOF_LENGTH });
        }
        let parts = jws::Parts::split(text).map_err(|error| ProofError::malformed(&error))?;
        let mut signature = [0; 64];
        if parts.signature.len() != 86
            || BASE64URL_NOPAD.decode_mut(parts.signature.as_bytes(), &mut signature).is_err()
        {
            return Err(ProofError::malformed(&"a signature is 64 bytes of unpadded base64url"));
        }
        Ok(Self { parts, signature })
    }

    /// Returns the encoded header.
    pub(super) fn header_text(&self) -> &'a str {
        self.parts.header
    }

    pub(super) fn signing_input(&self) -> &'a [u8] {
        self.parts.signing_input.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Checks the header and returns the key that it contains (§4.3, checks 3 to 5 and 7).
    pub(super) fn key(&self, accepted: Accepted) -> Result<PublicJwk, ProofError> {
        let text = decode_json(self.parts.header)?;
        let header: RawHeader<'_> =
            agentwrit_json::object_from_slice(&text, MAX_DEPTH).map_err(|error| ProofError::malformed(&error))?;
        let media_type = header.typ.ok_or(ProofError::MissingMember { member: "typ" })?.0;
        if media_type != "dpop+jwt" {
            return Err(ProofError::WrongType { found: shorten(&media_type) });
        }
        let algorithm = header.alg.ok_or(ProofError::MissingMember { member: "alg" })?.0;
        if !accepted.names().split(' ').any(|name| name == algorithm) {
            return Err(ProofError::UnsupportedAlgorithm { algorithm: shorten(&algorithm) });
        }
        if header.crit.0 {
            return Err(ProofError::CriticalHeader);
        }
        for (present, member) in [
            (header.jku, "jku"),
            (header.x5u, "x5u"),
            (header.x5c, "x5c"),
            (header.x5t, "x5t"),
            (header.x5t_s256, "x5t#S256"),
        ] {
            if present.0 {
                return Err(ProofError::OtherKey { member });
            }
        }
        let Object(jwk) = header.jwk.ok_or(ProofError::MissingMember { member: "jwk" })?;
        jwk.into_key(&algorithm)
    }

    /// Decodes the payload.
    pub(super) fn payload(&self) -> Result<Vec<u8>, ProofError> {
        decode_json(self.parts.payload)
    }
}

fn decode_json(text: &str) -> Result<Vec<u8>, ProofError> {
    let json = BASE64URL_NOPAD.decode(text.as_bytes());
    let json = json.map_err(|_| ProofError::malformed(&"a part is not unpadded base64url"))?;
    let structure = json.iter().filter(|byte| matches!(byte, b'"' | b',' | b':' | b'[' | b'{')).count();
    if structure > MAX_STRUCTURE {
        return Err(ProofError::malformed(&"a part has too many members"));
    }
    Ok(json)
}

#[derive(Deserialize)]
struct RawHeader<'a> {
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    typ: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    alg: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    jwk: Option<JwkMember<'a>>,
    #[serde(default)]
    crit: IsPresent,
    #[serde(default)]
    jku: IsPresent,
    #[serde(default)]
    x5u: IsPresent,
    #[serde(default)]
    x5c: IsPresent,
    #[serde(default)]
    x5t: IsPresent,
    #[serde(default, rename = "x5t#S256")]
    x5t_s256: IsPresent,
}

/// Claims of a proof, each required one present.
pub(super) struct ProofClaims<'a> {
    pub(super) jti: Cow<'a, str>,
    pub(super) htm: Cow<'a, str>,
    pub(super) htu: Cow<'a, str>,
    pub(super) iat: u64,
    pub(super) exp: Option<u64>,
    pub(super) nbf: Option<u64>,
    pub(super) ath: Option<Cow<'a, str>>,
    pub(super) nonce: Option<Cow<'a, str>>,
}

impl<'a> ProofClaims<'a> {
    /// Reads the claims from a payload (§4.3, check 3).
    pub(super) fn read(payload: &'a [u8]) -> Result<Self, ProofError> {
        let raw: RawClaims<'a> =
            agentwrit_json::object_from_slice(payload, MAX_DEPTH).map_err(|error| ProofError::malformed(&error))?;
        let missing = |member| ProofError::MissingMember { member };
        Ok(Self {
            jti: raw.jti.filter(|jti| !jti.0.is_empty()).ok_or(missing("jti"))?.0,
            htm: raw.htm.ok_or(missing("htm"))?.0,
            htu: raw.htu.ok_or(missing("htu"))?.0,
            iat: raw.iat.ok_or(missing("iat"))?.0,
            exp: raw.exp.map(|exp| exp.0),
            nbf: raw.nbf.map(|nbf| nbf.0),
            ath: raw.ath.map(|ath| ath.0),
            nonce: raw.nonce.map(|nonce| nonce.0),
        })
    }
}

#[derive(Deserialize)]
struct RawClaims<'a> {
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    jti: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    htm: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    htu: Option<CowStr<'a>>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    iat: Option<NumericDate>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    nbf: Option<NumericDate>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    ath: Option<CowStr<'a>>,
    #[serde(borrow, default, deserialize_with = "agentwrit_json::non_null")]
    nonce: Option<CowStr<'a>>,
}

/// Seconds since the epoch, which may have a fraction (RFC 7519 §2); rounded down.
#[derive(Clone, Copy)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DateVisitor;

        impl de::Visitor<'_> for DateVisitor {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(seconds))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
                let whole = std::time::Duration::try_from_secs_f64(seconds).map_err(E::custom)?;
                Ok(NumericDate(whole.as_secs()))
            }
        }

        deserializer.deserialize_any(DateVisitor)
    }
}
