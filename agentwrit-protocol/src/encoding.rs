//! Bytes as text.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `N` bytes in hexadecimal: written in lower case, read in either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is its bytes")]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Hex<N> {
    /// Decodes exactly `2 * N` hexadecimal characters.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// `N` bytes in standard base64 with padding. Line breaks are ignored where it is read (RFC 2045 §6.8): encoders wrap
/// lines and end the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is its bytes")]
pub struct Base64<const N: usize>(pub [u8; N]);

impl<const N: usize> Base64<N> {
    /// Decodes exactly `N` bytes.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        BASE64.decode(&text).ok()?.try_into().ok().map(Self)
    }
}

impl<const N: usize> fmt::Display for Base64<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

macro_rules! as_text {
    ($type:ident, $expected:literal) => {
        impl<const N: usize> Serialize for $type<N> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de, const N: usize> Deserialize<'de> for $type<N> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::decode(&text)
                    .ok_or_else(|| de::Error::custom(format_args!("expected {N} bytes in {}", $expected)))
            }
        }
    };
}

as_text!(Hex, "hexadecimal");
as_text!(Base64, "standard base64");

/// A credential as it was presented. One that cannot be any (not decodable, too long) is rejected where the credential is
/// checked, as a wrong one is (401), and not as a malformed request (400).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a credential is well formed or not")]
pub enum Presented<T> {
    /// Of the right form; nothing more is known.
    WellFormed(T),
    /// Not of the form of any such credential.
    Malformed,
}

impl<T> Presented<T> {
    /// Returns the credential if it is well formed.
    pub fn well_formed(self) -> Option<T> {
        match self {
            Self::WellFormed(credential) => Some(credential),
            Self::Malformed => None,
        }
    }
}

impl<T> From<T> for Presented<T> {
    fn from(credential: T) -> Self {
        Self::WellFormed(credential)
    }
}

impl<T> From<Option<T>> for Presented<T> {
    fn from(credential: Option<T>) -> Self {
        credential.map_or(Self::Malformed, Self::WellFormed)
    }
}

impl<T: Serialize> Serialize for Presented<T> {
    /// Writes a malformed credential as the empty text, which is malformed too.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::WellFormed(credential) => credential.serialize(serializer),
            Self::Malformed => serializer.serialize_str(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_hexadecimal_of_either_case_and_exact_length() {
        assert_eq!(Hex::<2>::decode("0aFF"), Some(Hex([0x0a, 0xff])));
        assert_eq!(Hex([0x0a, 0xff]).to_string(), "0aff");
        for text in ["", "0a", "0aff00", "0afg", " 0aff", "0aff\n"] {
            assert_eq!(Hex::<2>::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn decodes_base64_with_line_breaks_and_rejects_other_spellings() {
        assert_eq!(Base64::<2>::decode("-w=="), None, "URL-safe alphabet");
        for text in ["+/8=", "+/8=\n", "+/\r\n8=\r\n"] {
            assert_eq!(Base64::<2>::decode(text), Some(Base64([0xfb, 0xff])), "{text:?}");
        }
        for text in ["", "+/8", "+/9=", "+/8==", " +/8=", "+/8A"] {
            assert_eq!(Base64::<2>::decode(text), None, "{text:?}");
        }
    }
}
