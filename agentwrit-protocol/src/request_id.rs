//! The id of a request.

/// Id of a request in responses and logs: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Name of the header that carries it, in lower case.
    pub const HEADER: &str = "x-request-id";

    /// Takes a client's value if it is well formed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let valid = matches!(text.len(), 1..=128)
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        valid.then(|| Self(text.into()))
    }

    /// Makes an id of 16 hexadecimal characters.
    #[must_use]
    pub fn from_bytes(random: [u8; 8]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&random).into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_request_id_with_other_characters_or_length() {
        assert_eq!(RequestId::parse("a.B_9-").map(|id| id.as_str().to_owned()).as_deref(), Some("a.B_9-"));
        for text in ["", "a b", "a\nb", "é", &"a".repeat(129)] {
            assert_eq!(RequestId::parse(text), None, "{text:?}");
        }
    }
}
