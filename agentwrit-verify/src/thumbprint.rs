//! Thumbprints of public keys (RFC 7638), and the confirmation claim that names one (RFC 7800, RFC 9449 §6.1).

use std::{fmt, str::FromStr};

use agentwrit_json::Object;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// SHA-256 thumbprint of a public key (RFC 7638 §3), written as 43 characters of unpadded base64url.
///
/// ```
/// use agentwrit_verify::{PublicKey, Thumbprint};
///
/// let key = PublicKey::from_bytes(&[
///     0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, //
///     0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
/// ])?;
/// // RFC 8037 appendix A.3.
/// let thumbprint: Thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".parse()?;
/// assert_eq!(key.thumbprint(), thumbprint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Takes the digest itself.
    #[must_use]
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Computes the thumbprint of an Ed25519 key (RFC 8037 §2) from the 32 bytes of RFC 8032 §5.1.2.
    #[must_use]
    pub fn of_ed25519(public_key: &[u8; 32]) -> Self {
        let mut x = [0; 43];
        BASE64URL_NOPAD.encode_mut(public_key, &mut x);
        let canonical = Sha256::new().chain_update(br#"{"crv":"Ed25519","kty":"OKP","x":""#).chain_update(x);
        Self(canonical.chain_update(br#""}"#).finalize().into())
    }

    /// Returns the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BASE64URL_NOPAD.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, ThumbprintError> {
        let mut digest = [0; 32];
        let decoded = (text.len() == 43).then(|| BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut digest));
        match decoded {
            Some(Ok(_)) => Ok(Self(digest)),
            Some(Err(_)) | None => Err(ThumbprintError),
        }
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Error of a text that is not a thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is 43 characters of unpadded base64url")]
#[non_exhaustive]
pub struct ThumbprintError;

/// Confirmation claim (`cnf`, RFC 7800 §3.1) of a token that only the holder of a key may use.
///
/// It has the member `jkt` (RFC 9449 §6.1) and no other: an unknown confirmation method is rejected, not ignored, since
/// a token must not be accepted without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Object<RawConstraint>")]
#[expect(clippy::exhaustive_structs, reason = "the members are the wire contract, and issuers must name each")]
pub struct SenderConstraint {
    /// Thumbprint of the key that signs the proofs.
    pub jkt: Thumbprint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConstraint {
    jkt: Thumbprint,
}

impl From<Object<RawConstraint>> for SenderConstraint {
    fn from(Object(RawConstraint { jkt }): Object<RawConstraint>) -> Self {
        Self { jkt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.3.
    const TEXT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    #[test]
    fn accepts_one_encoding_of_a_thumbprint() {
        let thumbprint: Thumbprint = TEXT.parse().unwrap();
        assert_eq!(thumbprint.to_string(), TEXT);
        assert_eq!(serde_json::to_string(&thumbprint).unwrap(), format!("\"{TEXT}\""));
        // `l` has stray trailing bits.
        let stray = format!("{}l", TEXT.strip_suffix('k').unwrap());
        for other in [
            "",
            TEXT.trim_start_matches('k'),
            &format!("{TEXT}="),
            &format!("{TEXT}k"),
            &stray,
            &TEXT.replace('_', "/"),
        ] {
            assert_eq!(other.parse::<Thumbprint>(), Err(ThumbprintError), "{other}");
        }
    }

    #[test]
    fn rejects_confirmation_claim_unless_jkt_is_its_only_member() {
        let read = |text: &str| agentwrit_json::object_from_slice::<SenderConstraint>(text.as_bytes(), 4);
        let jkt = TEXT.parse().unwrap();
        assert_eq!(read(&format!(r#"{{"jkt":"{TEXT}"}}"#)).unwrap(), SenderConstraint { jkt });
        for other in [
            String::from("{}"),
            format!(r#"{{"jkt":"{TEXT}","x5t#S256":"{TEXT}"}}"#),
            format!(r#"{{"jkt":"{TEXT}","jkt":"{TEXT}"}}"#),
            format!(r#"{{"x5t#S256":"{TEXT}"}}"#),
            String::from(r#"{"jkt":null}"#),
            format!(r#"["{TEXT}"]"#),
        ] {
            assert!(read(&other).is_err(), "{other}");
        }
    }
}
