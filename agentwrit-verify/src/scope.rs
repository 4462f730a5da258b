//! Scopes of a credential.
//!
//! 1. A scope is `action:resource:identifier`: three non-empty parts of RFC 6749 §3.3 scope characters, at most
//!    [`Scope::MAX_LENGTH`] bytes in all. It is split at the first two colons: action and resource contain none, an
//!    identifier may (`read:bucket:arn:aws:s3:::logs`), and is then still one identifier without any structure.
//! 2. `*` means *every identifier*, and only as the whole third part; anywhere else it is rejected.
//! 3. `a:r:i` covers `a:r:i`; `a:r:*` covers `a:r:` with any identifier, and itself. There is no other cover. Matching
//!    is exact and case-sensitive.
//! 4. A set covers another set when each scope of the other is covered by one of its own.
//!
//! ```
//! use agentwrit_verify::{Scope, ScopeSet};
//!
//! let held = ScopeSet::parse(["read:records:*", "write:notes:P-1042"])?;
//! assert!(held.cover(&Scope::parse("read:records:P-7")?));
//! assert!(!held.cover(&Scope::parse("write:notes:P-7")?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[doc(hidden)]
pub use crate::scope_literal::ScopeLiteral;

/// Permission `action:resource:identifier`, parsed and valid.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    text: Box<str>,
    action_end: u16,
    resource_end: u16,
}

impl Scope {
    /// The longest scope that is accepted, in bytes.
    pub const MAX_LENGTH: usize = 256;

    /// Parses `action:resource:identifier`.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] with the rule of this module that the text breaks.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        match part_ends(text) {
            Some((action_end, resource_end)) => Ok(Self { text: text.into(), action_end, resource_end }),
            None => Self::parse_by_parts(text),
        }
    }

    /// Parses a text part by part, to find the rule that it breaks.
    fn parse_by_parts(text: &str) -> Result<Self, ScopeError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(ScopeError::TooLong { length: text.len() });
        }
        let mut parts = text.splitn(3, ':');
        let (Some(action), Some(resource), Some(identifier)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ScopeError::NotThreeParts { found: text.split(':').count() });
        };
        for (part, name, may_be_wildcard) in [
            (action, ScopePart::Action, false),
            (resource, ScopePart::Resource, false),
            (identifier, ScopePart::Identifier, true),
        ] {
            check_part(part, name, may_be_wildcard)?;
        }
        let action_end = position(action.len())?;
        let resource_end = position(action.len().saturating_add(1).saturating_add(resource.len()))?;
        Ok(Self { text: text.into(), action_end, resource_end })
    }

    /// Creates a scope from three parts of external origin. A text built with `format!` is split again at its first two
    /// colons, so that a resource with a colon would end up in the identifier; this function rejects it.
    ///
    /// ```
    /// use agentwrit_verify::{Scope, ScopeError, scope::ScopePart};
    ///
    /// let scope = Scope::from_parts("read", "bucket", "arn:aws:s3:::logs")?;
    /// assert_eq!(scope.as_str(), "read:bucket:arn:aws:s3:::logs");
    /// let error = Scope::from_parts("read", "bucket:arn", "logs").unwrap_err();
    /// assert_eq!(error, ScopeError::ForbiddenCharacter { part: ScopePart::Resource, character: ':' });
    /// # Ok::<(), ScopeError>(())
    /// ```
    ///
    /// An identifier `*` is the wildcard here as in [`parse`](Self::parse); a [`ScopeTemplate`](crate::ScopeTemplate)
    /// rejects it.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] with the rule of this module that the parts break.
    pub fn from_parts(action: &str, resource: &str, identifier: &str) -> Result<Self, ScopeError> {
        for (text, part) in [(action, ScopePart::Action), (resource, ScopePart::Resource)] {
            if text.contains(':') {
                return Err(ScopeError::ForbiddenCharacter { part, character: ':' });
            }
        }
        Self::parse(&format!("{action}:{resource}:{identifier}"))
    }

    /// Creates a scope from a literal that was checked at compile time.
    pub(crate) fn checked(text: &'static str, action_end: u16, resource_end: u16) -> Self {
        Self { text: text.into(), action_end, resource_end }
    }

    /// The whole scope as it is written on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first part: what may be done.
    #[must_use]
    pub fn action(&self) -> &str {
        self.text.get(..usize::from(self.action_end)).unwrap_or_default()
    }

    /// Returns the second part: the type of the resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        let start = usize::from(self.action_end).saturating_add(1);
        self.text.get(start..usize::from(self.resource_end)).unwrap_or_default()
    }

    /// The third part: which one, or `*` for every one.
    #[must_use]
    pub fn identifier(&self) -> &str {
        self.text.get(usize::from(self.resource_end).saturating_add(1)..).unwrap_or_default()
    }

    /// Returns action and resource.
    fn kind(&self) -> Option<&[u8]> {
        self.text.as_bytes().get(..usize::from(self.resource_end))
    }

    /// Returns true when the identifier is `*`.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.identifier() == "*"
    }

    /// Returns true for a scope of the broker's own families `admin:` and `app:`, which no agent can hold.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        matches!(self.action(), "admin" | "app")
    }

    /// Returns true when `self` permits `wanted`.
    #[must_use]
    pub fn covers(&self, wanted: &Scope) -> bool {
        // First what needs no text: the texts of a token's scopes are elsewhere in memory, and few have the wanted lengths.
        if (self.action_end, self.resource_end) != (wanted.action_end, wanted.resource_end) {
            return false;
        }
        self.text == wanted.text || (self.is_wildcard() && self.kind() == wanted.kind())
    }
}

/// Returns the ends of action and resource in the text of a scope; `None` for every other text.
fn part_ends(text: &str) -> Option<(u16, u16)> {
    let bytes = text.as_bytes();
    let action_end = bytes.iter().position(|byte| *byte == b':')?;
    let after_action = bytes.get(action_end.checked_add(1)?..)?;
    let resource_length = after_action.iter().position(|byte| *byte == b':')?;
    let identifier = after_action.get(resource_length.checked_add(1)?..)?;
    let resource_end = action_end.checked_add(1)?.checked_add(resource_length)?;
    let without_wildcard = if identifier == b"*" { bytes.get(..resource_end)? } else { bytes };
    // RFC 6749 §3.3, counted rather than searched: without a branch for each byte.
    let forbidden = bytes.iter().filter(|byte| !matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)).count();
    let is_scope = bytes.len() <= Scope::MAX_LENGTH
        && action_end > 0
        && resource_length > 0
        && !identifier.is_empty()
        && forbidden == 0
        && !without_wildcard.contains(&b'*');
    if is_scope { Some((action_end.try_into().ok()?, resource_end.try_into().ok()?)) } else { None }
}

fn position(offset: usize) -> Result<u16, ScopeError> {
    u16::try_from(offset).map_err(|_| ScopeError::TooLong { length: offset })
}

fn check_part(text: &str, part: ScopePart, may_be_wildcard: bool) -> Result<(), ScopeError> {
    if text.is_empty() {
        return Err(ScopeError::EmptyPart { part });
    }
    // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E ).
    if let Some(character) = text.chars().find(|c| !matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e')) {
        return Err(ScopeError::ForbiddenCharacter { part, character });
    }
    if text.contains('*') && !(may_be_wildcard && text == "*") {
        return Err(ScopeError::MisplacedWildcard { part });
    }
    Ok(())
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.text)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let agentwrit_json::CowStr(text) = agentwrit_json::CowStr::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// A part of a scope, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a scope has three parts")]
pub enum ScopePart {
    /// The first part.
    Action,
    /// The second part.
    Resource,
    /// The third part.
    Identifier,
}

impl fmt::Display for ScopePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "action",
            Self::Resource => "resource",
            Self::Identifier => "identifier",
        })
    }
}

/// Reason why a text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// Fewer than two `:`.
    #[error("a scope is `action:resource:identifier`, three parts, not {found}")]
    NotThreeParts {
        /// Number of parts.
        found: usize,
    },
    /// A part is empty.
    #[error("the {part} of a scope must not be empty")]
    EmptyPart {
        /// Empty part.
        part: ScopePart,
    },
    /// A character outside RFC 6749 §3.3.
    #[error("the {part} of a scope must not contain {character:?}")]
    ForbiddenCharacter {
        /// Part with the character.
        part: ScopePart,
        /// The first offending character.
        character: char,
    },
    /// `*` where it would not mean *every identifier*.
    #[error("`*` stands for every identifier and may be only the whole third part, not in the {part}")]
    MisplacedWildcard {
        /// Part with the `*`.
        part: ScopePart,
    },
    /// Longer than [`Scope::MAX_LENGTH`].
    #[error("a scope is at most 256 bytes, not {length}")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
}

/// Set of one to [`ScopeSet::MAX_SCOPES`] scopes, without duplicates, in the given order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScopeSet(Box<[Scope]>);

impl ScopeSet {
    /// The largest number of scopes in a set. Duplicates count before they collapse, so that the limit bounds the work.
    pub const MAX_SCOPES: usize = 64;

    /// Collects scopes; duplicates collapse into the first.
    ///
    /// # Errors
    ///
    /// [`ScopeSetError::Empty`] or [`ScopeSetError::TooMany`].
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, ScopeSetError> {
        let scopes = scopes.into_iter();
        let mut kept: Vec<Scope> = Vec::with_capacity(scopes.size_hint().0.min(Self::MAX_SCOPES));
        let mut given: usize = 0;
        for scope in scopes {
            given = given.saturating_add(1);
            if given > Self::MAX_SCOPES {
                return Err(ScopeSetError::TooMany);
            }
            if !kept.contains(&scope) {
                kept.push(scope);
            }
        }
        if kept.is_empty() {
            return Err(ScopeSetError::Empty);
        }
        Ok(Self(kept.into()))
    }

    /// Parses and collects scopes; duplicates collapse into the first.
    ///
    /// # Errors
    ///
    /// As [`ScopeSet::new`], and [`ScopeSetError::Scope`] with the index of the first text that is not a scope.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, ScopeSetError> {
        let mut scopes = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            if index >= Self::MAX_SCOPES {
                return Err(ScopeSetError::TooMany);
            }
            scopes.push(Scope::parse(text.as_ref()).map_err(|source| ScopeSetError::Scope { index, source })?);
        }
        Self::new(scopes)
    }

    /// Returns true when a scope of the set covers `wanted`.
    #[must_use]
    pub fn cover(&self, wanted: &Scope) -> bool {
        self.0.iter().any(|held| held.covers(wanted))
    }

    /// Returns true when every scope of `wanted` is covered.
    #[must_use]
    pub fn cover_all(&self, wanted: &ScopeSet) -> bool {
        self.first_uncovered(wanted).is_none()
    }

    /// The first scope of `wanted` that is not covered.
    #[must_use]
    pub fn first_uncovered<'a>(&self, wanted: &'a ScopeSet) -> Option<&'a Scope> {
        wanted.iter().find(|scope| !self.cover(scope))
    }

    /// The scopes, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// Returns the number of scopes, which is never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a scope set is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ScopeSet {
    /// Scopes separated by one space, as in RFC 6749 §3.3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{scope}")?;
        }
        Ok(())
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ScopeSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of 1 to 64 scopes")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<ScopeSet, A::Error> {
                let mut scopes = Vec::new();
                while let Some(scope) = list.next_element::<Scope>()? {
                    if scopes.len() >= ScopeSet::MAX_SCOPES {
                        return Err(de::Error::custom(ScopeSetError::TooMany));
                    }
                    scopes.push(scope);
                }
                ScopeSet::new(scopes).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_seq(Visitor)
    }
}

/// Reason why a list is not a scope set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeSetError {
    /// There is no scope in the list.
    #[error("at least one scope is needed")]
    Empty,
    /// More than [`ScopeSet::MAX_SCOPES`].
    #[error("at most 64 scopes are allowed")]
    TooMany,
    /// A text that is not a scope.
    #[error("scope {}: {source}", index.saturating_add(1))]
    Scope {
        /// Index in the list, from 0.
        index: usize,
        /// The rule that it breaks.
        source: ScopeError,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_parts_at_colons() {
        let scope = Scope::parse("read:records:P-1042").unwrap();
        assert_eq!((scope.action(), scope.resource(), scope.identifier()), ("read", "records", "P-1042"));
        assert!(!scope.is_wildcard());
        assert!(Scope::parse("read:records:*").unwrap().is_wildcard());
    }

    #[test]
    fn keeps_colons_after_second_in_identifier() {
        for (text, identifier) in [
            ("read:bucket:arn:aws:s3:::logs", "arn:aws:s3:::logs"),
            ("read:bucket:a:", "a:"),
            ("read:bucket::a", ":a"),
            ("read:bucket::", ":"),
        ] {
            let scope = Scope::parse(text).unwrap();
            assert_eq!(
                (scope.action(), scope.resource(), scope.identifier()),
                ("read", "bucket", identifier),
                "{text}"
            );
            assert_eq!(Scope::from_parts("read", "bucket", identifier), Ok(scope));
        }
    }

    #[test]
    fn from_parts_rejects_colons_in_action_and_resource() {
        let colon = |part| Err(ScopeError::ForbiddenCharacter { part, character: ':' });
        assert_eq!(Scope::from_parts("read:a", "b", "c"), colon(ScopePart::Action));
        assert_eq!(Scope::from_parts("read", "a:b", "c"), colon(ScopePart::Resource));
        assert_eq!(Scope::from_parts("read", "", "a"), Err(ScopeError::EmptyPart { part: ScopePart::Resource }));
    }

    #[test]
    fn rejects_malformed_scopes_with_broken_rule() {
        use ScopePart::{Action, Identifier, Resource};
        for (text, error) in [
            ("", ScopeError::NotThreeParts { found: 1 }),
            ("read:data", ScopeError::NotThreeParts { found: 2 }),
            (":data:x", ScopeError::EmptyPart { part: Action }),
            ("read::x", ScopeError::EmptyPart { part: Resource }),
            ("read:data:", ScopeError::EmptyPart { part: Identifier }),
            ("*:*:*", ScopeError::MisplacedWildcard { part: Action }),
            ("read:*:x", ScopeError::MisplacedWildcard { part: Resource }),
            ("read:data:x*", ScopeError::MisplacedWildcard { part: Identifier }),
            ("read:data:**", ScopeError::MisplacedWildcard { part: Identifier }),
            ("read:data:x:*", ScopeError::MisplacedWildcard { part: Identifier }),
            ("read:data:*:x", ScopeError::MisplacedWildcard { part: Identifier }),
            ("read:data::*", ScopeError::MisplacedWildcard { part: Identifier }),
            ("read::data:x", ScopeError::EmptyPart { part: Resource }),
            ("read:data:x admin", ScopeError::ForbiddenCharacter { part: Identifier, character: ' ' }),
            ("read:data:\"", ScopeError::ForbiddenCharacter { part: Identifier, character: '"' }),
            ("read:data:\\", ScopeError::ForbiddenCharacter { part: Identifier, character: '\\' }),
            ("réad:data:x", ScopeError::ForbiddenCharacter { part: Action, character: 'é' }),
            ("read:data:x\n", ScopeError::ForbiddenCharacter { part: Identifier, character: '\n' }),
        ] {
            assert_eq!(Scope::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn rejects_two_scopes_in_one_text() {
        assert!(Scope::parse("read:data:x admin:revoke:*").is_err());
    }

    #[test]
    fn length_limit_is_inclusive() {
        let longest = format!("a:b:{}", "c".repeat(Scope::MAX_LENGTH - 4));
        assert!(Scope::parse(&longest).is_ok());
        assert_eq!(Scope::parse(&format!("{longest}c")), Err(ScopeError::TooLong { length: 257 }));
    }

    #[test]
    fn covers_table() {
        for (held, wanted, covered) in [
            ("read:data:x", "read:data:x", true),
            ("read:data:*", "read:data:x", true),
            ("read:data:*", "read:data:*", true),
            ("read:data:x", "read:data:*", false),
            ("read:data:x", "read:data:X", false),
            ("read:data:*", "read:datax:y", false),
            ("read:data:*", "write:data:x", false),
            ("readdata:a:*", "read:dataa:x", false),
            ("read:data:*", "read:data:x:y", true),
            ("read:data:x:y", "read:data:x:y", true),
            ("read:data:x", "read:data:x:y", false),
            ("read:data:x:", "read:data:x:y", false),
            ("read:data:x:y", "read:data:x", false),
            ("read:data:x:y", "read:data:*", false),
        ] {
            let (held, wanted) = (Scope::parse(held).unwrap(), Scope::parse(wanted).unwrap());
            assert_eq!(held.covers(&wanted), covered, "{held} covers {wanted}");
        }
    }

    #[test]
    fn sets_collapse_duplicates_keep_order_and_limit_size() {
        let set = ScopeSet::parse(["b:b:b", "a:a:a", "b:b:b"]).unwrap();
        assert_eq!(set.to_string(), "b:b:b a:a:a");
        assert_eq!(ScopeSet::parse::<&str>([]), Err(ScopeSetError::Empty));
        let many = |n: usize| (0..n).map(|i| format!("a:b:{i}"));
        assert_eq!(ScopeSet::parse(many(64)).unwrap().len(), 64);
        assert_eq!(ScopeSet::parse(many(65)), Err(ScopeSetError::TooMany));
    }

    #[test]
    fn set_messages_count_from_one() {
        let error = ScopeSet::parse(["a:b:c", "bad"]).unwrap_err();
        assert_eq!(error.to_string(), "scope 2: a scope is `action:resource:identifier`, three parts, not 1");
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        ("[rw]{1,2}", "[ab]{1,2}", "[xy*]|[xy:]{1,3}")
            .prop_map(|(a, r, i)| Scope::parse(&format!("{a}:{r}:{i}")).unwrap())
    }

    fn any_set() -> impl Strategy<Value = ScopeSet> {
        proptest::collection::vec(any_scope(), 1..6).prop_map(|scopes| ScopeSet::new(scopes).unwrap())
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_round_trips(text in "\\PC{0,300}") {
            if let Ok(scope) = Scope::parse(&text) {
                prop_assert_eq!(scope.as_str(), &text);
                let rebuilt = format!("{}:{}:{}", scope.action(), scope.resource(), scope.identifier());
                prop_assert_eq!(rebuilt, text);
            }
        }

        #[test]
        fn part_ends_accepts_exactly_what_parts_do(text in "[ab*: \\\\\"{\u{7f}é]{0,8}|a:b:[a-c*:]{0,4}|a:b:c{250,254}") {
            let by_parts = Scope::parse_by_parts(&text).ok().map(|scope| (scope.action_end, scope.resource_end));
            prop_assert_eq!(part_ends(&text), by_parts);
        }

        #[test]
        fn from_parts_returns_same_parts(a in "[ab:*]{0,3}", r in "[ab:*]{0,3}", i in "[ab:*]{0,3}") {
            if let Ok(scope) = Scope::from_parts(&a, &r, &i) {
                prop_assert_eq!((scope.action(), scope.resource(), scope.identifier()), (&*a, &*r, &*i));
            }
        }

        #[test]
        fn covering_is_reflexive_and_transitive(a in any_set(), b in any_set(), c in any_set()) {
            prop_assert!(a.cover_all(&a));
            if a.cover_all(&b) && b.cover_all(&c) {
                prop_assert!(a.cover_all(&c));
            }
        }

        #[test]
        fn set_covers_only_identifiers_of_its_scopes(a in any_set(), wanted in any_scope()) {
            let expected = a.iter().any(|held| {
                (held.action(), held.resource()) == (wanted.action(), wanted.resource())
                    && (held.identifier() == "*" || held.identifier() == wanted.identifier())
            });
            prop_assert_eq!(a.cover(&wanted), expected);
        }
    }
}
