//! Cursor in a broker's log of revocations, as text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Place in a broker's log: `<epoch>.<position>`, as in the response to a revocation.
///
/// ```
/// use agentwrit_verify::feed::FeedCursor;
///
/// let cursor = FeedCursor::parse("9f2c.1842")?;
/// assert_eq!((cursor.epoch(), cursor.position()), ("9f2c", 1842));
/// # Ok::<(), agentwrit_verify::feed::FeedCursorError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeedCursor {
    epoch: Box<str>,
    position: u64,
}

impl FeedCursor {
    /// The request header by which a client makes a service wait until its list has reached a cursor.
    pub const AT_LEAST: &str = "agentwrit-at-least";
    /// The longest name of an epoch, in bytes.
    pub(crate) const LONGEST_EPOCH: usize = 128;

    /// A cursor of the log that `epoch` names.
    ///
    /// # Errors
    ///
    /// [`FeedCursorError`] unless the epoch is 1 to 128 of `A-Z a-z 0-9 . _ ~ -`.
    pub fn new(epoch: &str, position: u64) -> Result<Self, FeedCursorError> {
        let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-');
        if matches!(epoch.len(), 1..=Self::LONGEST_EPOCH) && epoch.bytes().all(is_unreserved) {
            return Ok(Self { epoch: epoch.into(), position });
        }
        Err(FeedCursorError(()))
    }

    /// Parses `<epoch>.<position>`. The position is a decimal number without leading zeros.
    ///
    /// # Errors
    ///
    /// [`FeedCursorError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, FeedCursorError> {
        let (epoch, digits) = text.rsplit_once('.').ok_or(FeedCursorError(()))?;
        let is_canonical =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let position = digits.parse().ok().filter(|_| is_canonical).ok_or(FeedCursorError(()))?;
        Self::new(epoch, position)
    }

    /// Returns the name of the log.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Returns the position in the log.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns true when the cursor is of the same log as `other` and not before it.
    #[must_use]
    pub fn has_reached(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.position >= other.position
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

impl Serialize for FeedCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FeedCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A text is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is `<epoch>.<position>`, as in the response to a revocation")]
pub struct FeedCursorError(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_canonical_text_only() {
        for text in ["e.0", "9f2c.1842", "a.b.7", "e.18446744073709551615"] {
            assert_eq!(FeedCursor::parse(text).unwrap().to_string(), text);
        }
        let long = format!("{}.1", "e".repeat(129));
        for text in [
            "",
            ".",
            "e",
            "e.",
            ".1",
            "e.01",
            "e.+1",
            "e.-1",
            "e.1 ",
            "e 1.1",
            "e/f.1",
            "é.1",
            "e.18446744073709551616",
            &long,
        ] {
            assert_eq!(FeedCursor::parse(text), Err(FeedCursorError(())), "{text}");
        }
    }

    #[test]
    fn reaches_earlier_cursors_of_same_epoch_only() {
        let cursor = |text| FeedCursor::parse(text).unwrap();
        assert!(cursor("a.5").has_reached(&cursor("a.5")) && cursor("a.6").has_reached(&cursor("a.5")));
        assert!(!cursor("a.4").has_reached(&cursor("a.5")) && !cursor("b.9").has_reached(&cursor("a.5")));
    }
}
