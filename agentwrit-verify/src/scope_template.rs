//! Scopes whose identifier is a parameter of the request.

use std::fmt;

use crate::scope::{Scope, ScopeError, ScopePart};

/// A scope, or a template with a parameter as its identifier: `read:records:{patient_id}`.
///
/// The parameter is the whole identifier, named as a parameter of the request (letters, digits and `_`, no digit
/// first). A brace anywhere else is rejected as a malformed template. Two parameters, or a parameter within a text,
/// could be filled in two ways to the same scope.
///
/// ```
/// use agentwrit_verify::{Scope, ScopeTemplate};
///
/// let template = ScopeTemplate::parse("read:records:{patient_id}")?;
/// assert_eq!(template.parameter(), Some("patient_id"));
/// assert_eq!(template.fill("P-1042")?, Scope::parse("read:records:P-1042")?);
/// // Anything other than one identifier is rejected.
/// assert!(template.fill("*").is_err());
/// assert!(template.fill("").is_err());
/// assert!(template.fill("two words").is_err());
/// // A colon has no meaning within an identifier.
/// assert_eq!(template.fill("a:b")?.identifier(), "a:b");
/// # Ok::<(), agentwrit_verify::ScopeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeTemplate(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Fixed(Scope),
    /// `prefix` ends with the second `:`.
    Parameter {
        prefix: Box<str>,
        parameter: Box<str>,
    },
}

impl ScopeTemplate {
    /// Parses a scope whose identifier may be `{name}`.
    ///
    /// # Errors
    ///
    /// As [`Scope::parse`], and [`ScopeError::ForbiddenCharacter`] for a brace that is not part of a parameter.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let scope = Scope::parse(text)?;
        for (part, text) in [(ScopePart::Action, scope.action()), (ScopePart::Resource, scope.resource())] {
            reject_braces(part, text)?;
        }
        let inside = scope.identifier().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inside.filter(|name| is_name(name)) {
            Some(parameter) => {
                let prefix = format!("{}:{}:", scope.action(), scope.resource()).into();
                Ok(Self(Kind::Parameter { prefix, parameter: parameter.into() }))
            }
            None => reject_braces(ScopePart::Identifier, scope.identifier()).map(|()| Self(Kind::Fixed(scope))),
        }
    }

    /// Returns the name of the parameter, if there is one.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        match &self.0 {
            Kind::Fixed(_) => None,
            Kind::Parameter { parameter, .. } => Some(parameter),
        }
    }

    /// Returns the scope, if there is no parameter.
    #[must_use]
    pub fn as_scope(&self) -> Option<&Scope> {
        match &self.0 {
            Kind::Fixed(scope) => Some(scope),
            Kind::Parameter { .. } => None,
        }
    }

    /// Returns the scope with this identifier in place of the parameter; without a parameter, the scope itself.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] when the text is not *one* identifier: empty, with a `*`, a control character or another
    /// character that no identifier may contain, or too long.
    pub fn fill(&self, identifier: &str) -> Result<Scope, ScopeError> {
        match &self.0 {
            Kind::Fixed(scope) => Ok(scope.clone()),
            Kind::Parameter { .. } if identifier == "*" => {
                Err(ScopeError::MisplacedWildcard { part: ScopePart::Identifier })
            }
            Kind::Parameter { prefix, .. } => Scope::parse(&format!("{prefix}{identifier}")),
        }
    }
}

impl From<Scope> for ScopeTemplate {
    /// The scope to the letter, braces included.
    fn from(scope: Scope) -> Self {
        Self(Kind::Fixed(scope))
    }
}

impl fmt::Display for ScopeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Fixed(scope) => scope.fmt(f),
            Kind::Parameter { prefix, parameter } => write!(f, "{prefix}{{{parameter}}}"),
        }
    }
}

fn reject_braces(part: ScopePart, text: &str) -> Result<(), ScopeError> {
    match text.chars().find(|character| matches!(character, '{' | '}')) {
        Some(character) => Err(ScopeError::ForbiddenCharacter { part, character }),
        None => Ok(()),
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rejects_braces_other_than_whole_identifier() {
        for (text, part, character) in [
            ("read:records:patient_id}", ScopePart::Identifier, '}'),
            ("read:records:{patient_id", ScopePart::Identifier, '{'),
            ("read:records:{}", ScopePart::Identifier, '{'),
            ("read:records:{7up}", ScopePart::Identifier, '{'),
            ("read:records:{a}{b}", ScopePart::Identifier, '{'),
            ("read:records:P-{id}", ScopePart::Identifier, '{'),
            ("read:records:eu:{id}", ScopePart::Identifier, '{'),
            ("read:records:{id}:eu", ScopePart::Identifier, '{'),
            ("read:records:{a-b}", ScopePart::Identifier, '{'),
            ("read:{kind}:7", ScopePart::Resource, '{'),
            ("{verb}:records:7", ScopePart::Action, '{'),
        ] {
            assert_eq!(ScopeTemplate::parse(text), Err(ScopeError::ForbiddenCharacter { part, character }), "{text}");
        }
        assert!(matches!(ScopeTemplate::parse("read:records:{*rest}"), Err(ScopeError::MisplacedWildcard { .. })));
    }

    #[test]
    fn templates_round_trip() {
        for text in ["read:data:*", "read:data:7", "read:records:{patient_id}", "read:records:{_a9}"] {
            assert_eq!(ScopeTemplate::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn fill_accepts_exactly_one_identifier() {
        let template = ScopeTemplate::parse("read:records:{id}").unwrap();
        for bad in ["", "*", "a*", "a:*", "*:a", "a b", "a\"b", "a\\b", "a\nb", "a\0", "\u{7f}", "é", &"a".repeat(244)]
        {
            assert!(template.fill(bad).is_err(), "{bad:?}");
        }
        for good in ["P-1042", "..", "a/b", "%2A", "{x}", "arn:aws:s3:::logs", ":", &"a".repeat(243)] {
            assert_eq!(template.fill(good).unwrap().identifier(), good);
        }
    }

    proptest! {
        #[test]
        fn filled_scope_covers_only_itself(
            identifier in prop_oneof![any::<String>(), "[a-c:*]{0,4}"],
            other in "[a-c:*]{1,4}",
        ) {
            let template = ScopeTemplate::parse("read:records:{id}").unwrap();
            if let Ok(scope) = template.fill(&identifier) {
                prop_assert!(!scope.is_wildcard());
                prop_assert_eq!((scope.action(), scope.resource(), scope.identifier()), ("read", "records", &*identifier));
                let other = Scope::parse(&format!("read:records:{}", other.replace('*', "x"))).unwrap();
                prop_assert_eq!(scope.covers(&other), scope == other);
            }
        }
    }
}
