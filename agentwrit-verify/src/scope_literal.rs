//! Scopes that the compiler checks.

use crate::scope::Scope;

/// Creates a [`Scope`] from a literal that is checked at compile time.
///
/// ```
/// use agentwrit_verify::{Scope, scope};
///
/// assert_eq!(scope!("read:data:*"), Scope::parse("read:data:*").unwrap());
/// assert_eq!(scope!("read:bucket:arn:aws:s3:::logs").identifier(), "arn:aws:s3:::logs");
/// ```
///
/// An invalid scope does not compile:
///
/// ```compile_fail
/// agentwrit_verify::scope!("read:data");
/// ```
/// ```compile_fail
/// agentwrit_verify::scope!("read:*:7");
/// ```
/// ```compile_fail
/// agentwrit_verify::scope!("read:da ta:7");
/// ```
///
/// Neither does a template, which is not a scope until it is filled:
///
/// ```compile_fail
/// agentwrit_verify::scope!("read:records:{patient_id}");
/// ```
#[macro_export]
macro_rules! scope {
    ($text:literal) => {{
        const CHECKED: $crate::scope::ScopeLiteral = $crate::scope::ScopeLiteral::new($text);
        CHECKED.to_scope()
    }};
}

/// A scope checked at compile time, for [`scope!`](crate::scope!).
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct ScopeLiteral {
    text: &'static str,
    action_end: u16,
    resource_end: u16,
}

impl ScopeLiteral {
    /// Stops the compiler when the text is no scope.
    ///
    /// # Panics
    ///
    /// When the text is no scope; within a constant, that is a compile error.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        assert!(text.len() <= Scope::MAX_LENGTH, "a scope is at most 256 bytes");
        let mut rest = text.as_bytes();
        let (mut at, mut part_length, mut parts) = (0_u16, 0_u16, 1_u8);
        let (mut action_end, mut resource_end) = (0, 0);
        while let [byte, tail @ ..] = rest {
            // Colons after the second belong to the identifier.
            if *byte == b':' && parts < 3 {
                assert!(part_length > 0, "a part of a scope must not be empty");
                (action_end, resource_end) = if parts == 1 { (at, 0) } else { (action_end, at) };
                (parts, part_length) = (parts.saturating_add(1), 0);
            } else {
                let whole_identifier = parts == 3 && part_length == 0 && tail.is_empty();
                assert!(*byte != b'*' || whole_identifier, "`*` may be only the whole third part of a scope");
                assert!(is_allowed(*byte), "a scope must not contain this character");
                part_length = part_length.saturating_add(1);
            }
            at = at.saturating_add(1);
            rest = tail;
        }
        assert!(parts == 3, "a scope is `action:resource:identifier`, three parts");
        assert!(part_length > 0, "a part of a scope must not be empty");
        Self { text, action_end, resource_end }
    }

    /// The scope.
    #[must_use]
    pub fn to_scope(self) -> Scope {
        Scope::checked(self.text, self.action_end, self.resource_end)
    }
}

/// RFC 6749 §3.3, without braces.
const fn is_allowed(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e) && byte != b'{' && byte != b'}'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literal_returns_its_parts() {
        let scope = scope!("read:data:*");
        assert_eq!((scope.action(), scope.resource(), scope.identifier()), ("read", "data", "*"));
    }

    proptest! {
        /// The compiler accepts what [`Scope::parse`] accepts, and cuts it into the same parts.
        #[test]
        fn literal_accepts_exactly_what_parser_accepts(text in "[ab*: {\"é]{0,8}|a:b:[a-c*:]{0,4}") {
            let parsed = Scope::parse(&text).ok().filter(|_| !text.contains(['{', '}']));
            let leaked: &'static str = Box::leak(text.into_boxed_str());
            let checked = std::panic::catch_unwind(|| ScopeLiteral::new(leaked).to_scope()).ok();
            prop_assert_eq!(checked, parsed);
        }
    }
}
