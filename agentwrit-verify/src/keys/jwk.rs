//! JWK Sets (RFC 7517 §5, RFC 8037 §2): rule 1 of [`keys`](super).

use std::fmt;

use agentwrit_json::Object;
use data_encoding::BASE64URL_NOPAD;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use super::{error::KeySetError, key_id::KeyId, key_set::KeySet, public_key::PublicKey};

impl KeySet {
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
            (kid, None) => Err(KeySetError::InvalidKey { kid: kid.unwrap_or_else(KeyId::unnamed) }),
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

#[cfg(test)]
mod tests {
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
    fn rejects_list_in_place_of_key() {
        let list = format!(r#"{{"keys":[["OKP","Ed25519","sig",["verify"],"EdDSA","a","{X}"]]}}"#);
        assert!(matches!(KeySet::from_jwks(list.as_bytes()), Err(KeySetError::Malformed { .. })));
    }
}
