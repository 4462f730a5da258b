//! Further parameters of a challenge (RFC 9110 §11.3), quoted so that no value can end its own quotes.

use std::fmt;

/// Parameters that a service adds to the `WWW-Authenticate: Bearer` challenges of its rejections, such as
/// `resource_metadata` of RFC 9728. [`RequireScope::challenge_parameter`](crate::RequireScope::challenge_parameter)
/// adds one to every challenge; an `on_rejection` closure adds some to one challenge, through the extensions of its
/// response.
///
/// ```
/// use agentwrit_tower::{Authenticate, ChallengeParameters, verify::Verifier};
/// use http::Response;
///
/// fn layer(verifier: Verifier) -> Authenticate {
///     Authenticate::new(verifier).on_rejection(|rejection, head| {
///         let mut response = Response::new(rejection.to_string());
///         let metadata = format!("https://api.example/.well-known/oauth-protected-resource{}", head.uri.path());
///         if let Ok(parameters) = ChallengeParameters::new().with("resource_metadata", &metadata) {
///             response.extensions_mut().insert(parameters);
///         }
///         response
///     })
/// }
/// # layer(agentwrit_tower::verify::testing::TestIssuer::new().verifier());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChallengeParameters(Vec<(Box<str>, Box<str>)>);

/// Parameters that the layers write (RFC 6750 §3, RFC 9449 §7.1): each may occur only once.
const RESERVED: [&str; 6] = ["realm", "scope", "error", "error_description", "error_uri", "algs"];

impl ChallengeParameters {
    /// Maximum number of parameters.
    pub const MAX_PARAMETERS: usize = 16;
    /// Maximum length of a name or a value, in bytes.
    pub const MAX_LENGTH: usize = 1024;

    /// Creates an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter. The value is written as a quoted string, `"` and `\` escaped.
    ///
    /// # Errors
    ///
    /// [`ChallengeParameterError`] when a challenge cannot have the parameter.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, ChallengeParameterError> {
        let named = |name: &str| name.to_owned();
        let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > Self::MAX_LENGTH || !name.bytes().all(is_tchar) {
            return Err(ChallengeParameterError::Name { name: name.chars().take(64).collect() });
        }
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return Err(ChallengeParameterError::Reserved { name: named(name) });
        }
        if self.has(name) {
            return Err(ChallengeParameterError::Repeated { name: named(name) });
        }
        if let Some(character) = value.chars().find(|character| !matches!(character, ' '..='~')) {
            return Err(ChallengeParameterError::Value { name: named(name), character });
        }
        if value.len() > Self::MAX_LENGTH {
            return Err(ChallengeParameterError::TooLong { name: named(name), length: value.len() });
        }
        if self.0.len() >= Self::MAX_PARAMETERS {
            return Err(ChallengeParameterError::TooMany);
        }
        self.0.push((name.into(), value.into()));
        Ok(self)
    }

    /// Returns `true` without parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the parameters of `others` whose names are not taken.
    pub(crate) fn or(&self, others: &Self) -> Self {
        let further = others.0.iter().filter(|(name, _)| !self.has(name));
        Self(self.0.iter().chain(further).cloned().collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for ChallengeParameters {
    /// Writes `, name="value"` for each: the form in which they follow a challenge's own parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(f, ", {name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        Ok(())
    }
}

/// Error of a parameter that a challenge cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeParameterError {
    /// The name is not a token as in RFC 9110 §5.6.2.
    #[error("`{name}` is not the name of a parameter")]
    Name {
        /// The beginning of the name.
        name: String,
    },
    /// The parameter is one of those that the layers write.
    #[error("the parameter `{name}` is written by the layer itself")]
    Reserved {
        /// The name of the parameter.
        name: String,
    },
    /// The list has a parameter of that name.
    #[error("the parameter `{name}` is there already")]
    Repeated {
        /// The name of the parameter.
        name: String,
    },
    /// The value has a character other than printable ASCII.
    #[error("the value of `{name}` must not contain {character:?}")]
    Value {
        /// The name of the parameter.
        name: String,
        /// The first such character.
        character: char,
    },
    /// The value is longer than [`ChallengeParameters::MAX_LENGTH`].
    #[error("the value of `{name}` is at most 1024 bytes, not {length}")]
    TooLong {
        /// The name of the parameter.
        name: String,
        /// The value's length in bytes.
        length: usize,
    },
    /// More than [`ChallengeParameters::MAX_PARAMETERS`].
    #[error("a challenge has at most 16 further parameters")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(name: &str, value: &str) -> Result<ChallengeParameters, ChallengeParameterError> {
        ChallengeParameters::new().with(name, value)
    }

    #[test]
    fn rejects_names_and_values_that_no_challenge_can_have() {
        use ChallengeParameterError::{Name, Repeated, Reserved, TooLong, Value};
        for name in ["", "a b", "a=b", "a\"", "a,b", "é", "a\r\nx: y"] {
            assert_eq!(with(name, "v"), Err(Name { name: name.into() }));
        }
        for name in ["realm", "Scope", "ERROR", "error_description", "error_uri"] {
            assert_eq!(with(name, "v"), Err(Reserved { name: name.into() }));
        }
        for character in ['\r', '\n', '\0', '\t', '\u{7f}', 'é'] {
            assert_eq!(with("a", &format!("x{character}y")), Err(Value { name: "a".into(), character }));
        }
        assert_eq!(with("a", "1").unwrap().with("A", "2"), Err(Repeated { name: "A".into() }));
        assert_eq!(with("a", &"x".repeat(1025)), Err(TooLong { name: "a".into(), length: 1025 }));
        let full = (0..16).fold(ChallengeParameters::new(), |all, n| all.with(&format!("p{n}"), "v").unwrap());
        assert_eq!(full.with("one-more", "v"), Err(ChallengeParameterError::TooMany));
    }

    #[test]
    fn own_parameters_replace_outer_ones_of_the_same_name() {
        let own = with("a", "own").unwrap();
        let outer = with("A", "outer").unwrap().with("b", "outer").unwrap();
        assert_eq!(own.or(&outer).to_string(), r#", a="own", b="outer""#);
    }

    proptest! {
        /// A parser of quoted strings (RFC 9110 §5.6.4) reads every value back.
        #[test]
        fn quoted_value_reads_back_as_it_was(value in "[ -~]{0,40}") {
            let written = with("name", &value).unwrap().to_string();
            let quoted = written.strip_prefix(", name=\"").unwrap().strip_suffix('"').unwrap();
            let (mut read, mut characters) = (String::new(), quoted.chars());
            while let Some(character) = characters.next() {
                prop_assert_ne!(character, '"');
                read.push(if character == '\\' { characters.next().unwrap() } else { character });
            }
            prop_assert_eq!(read, value);
        }
    }
}
