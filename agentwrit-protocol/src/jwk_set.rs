//! Key sets of other issuers (RFC 7517 §5), as they are stored and sent.

use std::fmt;

use agentwrit_json::JsonError;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess},
};
use serde_json::Value;

use crate::{
    lenient::small_object,
    limits::{MAX_JSON_DEPTH, MAX_JWKS, MAX_JWKS_KEYS},
    members::{Member, MemberValue},
};

/// Parameters that only private and symmetric keys have (RFC 7518 §6).
const PRIVATE_PARAMETERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// JWK set as compact JSON: 1 to [`MAX_JWKS_KEYS`] public keys in at most [`MAX_JWKS`] bytes. The keys themselves are not
/// checked.
#[derive(Clone, PartialEq, Eq)]
pub struct JwkSetText(Box<str>);

impl JwkSetText {
    /// Parses a key set.
    ///
    /// # Errors
    ///
    /// [`JsonError`] names the defect; private keys are rejected.
    pub fn parse(json: &[u8]) -> Result<Self, JsonError> {
        agentwrit_json::object_from_slice(json, MAX_JSON_DEPTH)
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_tree(tree: Option<Value>) -> Result<Self, &'static str> {
        const TOO_LARGE: &str = "must be a key set of at most 64 KiB";
        let tree = tree.ok_or(TOO_LARGE)?;
        let keys = tree.get("keys").and_then(Value::as_array).filter(|keys| !keys.is_empty());
        let keys = keys.ok_or("must have the member `keys`, a list of at least one key")?;
        if keys.len() > MAX_JWKS_KEYS {
            return Err("must have at most 64 keys");
        }
        for key in keys {
            let key = key.as_object().ok_or("must be a list of objects in `keys`")?;
            if PRIVATE_PARAMETERS.iter().any(|parameter| key.contains_key(*parameter)) {
                return Err("must not contain private keys or secrets: publish the public keys only");
            }
        }
        let text = tree.to_string();
        if text.len() > MAX_JWKS { Err(TOO_LARGE) } else { Ok(Self(text.into())) }
    }
}

impl fmt::Debug for JwkSetText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for JwkSetText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tree: Value = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        tree.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JwkSetText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let set = Member::<JwkSetMember>::deserialize(deserializer)?.given();
        set.map_or(Err("must be an object"), |JwkSetMember(set)| set).map_err(de::Error::custom)
    }
}

/// A key set, or its defect.
#[derive(Debug)]
pub(crate) struct JwkSetMember(pub(crate) Result<JwkSetText, &'static str>);

impl MemberValue for JwkSetMember {
    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        small_object(object).map(|tree| Some(Self(JwkSetText::from_tree(tree))))
    }
}
