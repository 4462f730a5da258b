//! Compact JWS (RFC 7515 §7.1), decoded strictly.
//!
//! 1. Three parts of unpadded base64url, no white space, no stray trailing bits: one signed content has one encoding.
//! 2. The header is one JSON object without duplicate members; `alg` is `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864).
//! 3. The header has no `crit` (RFC 7515 §4.1.11) and no member that contains or references a key: `jwk`, `jku`, `x5u`,
//!    `x5c`, `x5t`.
//! 4. The signature is 64 bytes.

use std::{borrow::Cow, fmt};

use agentwrit_json::IsPresent;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::{
    error::{TokenFormatError, VerifyError},
    keys::{KeyId, KeySet, PublicKey},
};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_LENGTH: usize = 8 * 1024;

/// Nesting up to which header and payload are read.
pub(crate) const MAX_DEPTH: usize = 16;

/// The parts of a compact JWS, encoded.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    /// Header and payload with the dot between them.
    pub(crate) signing_input: &'a str,
    pub(crate) header: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(text: &'a str) -> Result<Self, TokenFormatError> {
        let (signing_input, signature) = text.rsplit_once('.').ok_or(TokenFormatError::NotThreeParts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenFormatError::NotThreeParts)?;
        if payload.contains('.') {
            return Err(TokenFormatError::NotThreeParts);
        }
        Ok(Self { signing_input, header, payload, signature })
    }
}

/// A well-formed JWS whose signature is not yet verified.
#[derive(Clone)]
pub(crate) struct CompactJws<'a> {
    pub(crate) header: Header,
    signing_input: &'a str,
    payload: &'a str,
    signature: [u8; 64],
}

impl<'a> CompactJws<'a> {
    pub(crate) fn decode(text: &'a str, limit: usize) -> Result<Self, VerifyError> {
        Self::decode_with(text, limit, Header::decode)
    }

    /// Decodes a token, skipping the header's JSON when it is the usual header of a known key.
    pub(crate) fn decode_known(text: &'a str, limit: usize, keys: &KeySet) -> Result<Self, VerifyError> {
        Self::decode_with(text, limit, |header| match keys.iter().find(|key| key.usual_header() == header) {
            Some(key) => Ok(Header::usual(key)),
            None => Header::decode(header),
        })
    }

    fn decode_with(
        text: &'a str,
        limit: usize,
        read_header: impl FnOnce(&str) -> Result<Header, VerifyError>,
    ) -> Result<Self, VerifyError> {
        if text.len() > limit {
            return Err(VerifyError::TooLong { length: text.len(), limit });
        }
        let Parts { signing_input, header, payload, signature } = Parts::split(text)?;
        if header.len() > MAX_TOKEN_LENGTH {
            // The signature is not yet verified: a feed response may be long, its header may not.
            return Err(VerifyError::TooLong { length: header.len(), limit: MAX_TOKEN_LENGTH });
        }
        let header = read_header(header)?;
        let signature = decode_base64(signature)?.try_into().map_err(|_| TokenFormatError::SignatureLength)?;
        Ok(Self { header, signing_input, payload, signature })
    }

    /// The payload's bytes, signed or not.
    pub(crate) fn payload(&self) -> Result<Vec<u8>, VerifyError> {
        decode_base64(self.payload)
    }

    pub(crate) fn check_signature(&self, key: &PublicKey) -> Result<(), VerifyError> {
        if key.verifies(self.signing_input.as_bytes(), &self.signature) {
            Ok(())
        } else {
            Err(VerifyError::BadSignature)
        }
    }
}

impl fmt::Debug for CompactJws<'_> {
    /// Shows the header only, since the whole text is a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactJws").field("header", &self.header).finish_non_exhaustive()
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>, VerifyError> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenFormatError::Base64.into())
}

/// Members of a JOSE header that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: Cow<'static, str>,
    pub(crate) media_type: Option<Cow<'static, str>>,
    pub(crate) key_id: Option<KeyId>,
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "agentwrit_json::non_null")]
    kid: Option<String>,
    #[serde(default)]
    crit: IsPresent,
    #[serde(default)]
    jwk: IsPresent,
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

impl Header {
    /// Returns the members of a key's usual header.
    fn usual(key: &PublicKey) -> Self {
        Self { algorithm: "EdDSA".into(), media_type: Some("JWT".into()), key_id: Some(key.id().clone()) }
    }

    fn decode(text: &str) -> Result<Self, VerifyError> {
        let header: RawHeader = agentwrit_json::object_from_slice(&decode_base64(text)?, MAX_DEPTH)
            .map_err(|error| TokenFormatError::Header { message: error.to_string() })?;
        if !matches!(header.alg.as_str(), "EdDSA" | "Ed25519") {
            return Err(VerifyError::UnsupportedAlgorithm { algorithm: shorten(&header.alg) });
        }
        if header.crit.0 {
            return Err(VerifyError::CriticalHeader);
        }
        for (present, member) in [
            (header.jwk, "jwk"),
            (header.jku, "jku"),
            (header.x5u, "x5u"),
            (header.x5c, "x5c"),
            (header.x5t, "x5t"),
            (header.x5t_s256, "x5t#S256"),
        ] {
            if present.0 {
                return Err(VerifyError::KeyInHeader { member });
            }
        }
        let key_id = header.kid.map(|kid| KeyId::parse(&kid).ok_or(TokenFormatError::KeyId)).transpose()?;
        Ok(Self {
            algorithm: header.alg.into(),
            media_type: header.typ.as_deref().map(|media_type| shorten(media_type).into()),
            key_id,
        })
    }
}

/// Truncates untrusted text for an error and escapes control characters.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(agentwrit_json::escape_control).collect()
}
