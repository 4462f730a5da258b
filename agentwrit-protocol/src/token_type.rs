//! Token types of access tokens (RFC 6749 §7.1).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a token is presented: the member `token_type`, and the scheme of the `Authorization` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "code that presents a token must know how")]
pub enum TokenType {
    /// The token alone (RFC 6750).
    #[default]
    Bearer,
    /// The token with a proof by the key that it is bound to (RFC 9449).
    Dpop,
}

impl TokenType {
    /// Returns `Bearer` or `DPoP`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }

    /// Parses the name of a type, which is case-insensitive (RFC 6749 §5.1).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Bearer, Self::Dpop].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TokenType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TokenType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| de::Error::custom("token type is neither Bearer nor DPoP"))
    }
}
