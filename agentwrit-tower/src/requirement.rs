//! Required scopes, and the check of a token's scopes against them: a pure function.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use agentwrit_verify::{Scope, ScopeError, ScopeSet, ScopeTemplate};
use http::Method;
use http::request::Parts;

use crate::path::{Parameters, PathPattern};
use crate::rejection::{BadRequest, IdentifierError, MissingScope, Rejection, spaced};

/// Requirement of a layer, before it is applied to a request.
#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    /// The same scopes for every request.
    Fixed(RequiredScopes),
    /// Templates, which the request's path fills.
    Templates(Quantifier, Box<[ScopeTemplate]>),
    /// A requirement for each method. A method without one is rejected.
    ByMethod(Box<[(Method, Requirement)]>),
    /// The scopes that a closure returns for the request.
    FromRequest(Custom),
}

/// Number of scopes that are required: all, or at least one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quantifier {
    All,
    Any,
}

/// Scopes that a token must grant for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequiredScopes {
    /// Every scope of the list.
    All(Box<[Scope]>),
    /// At least one scope of the list.
    Any(Box<[Scope]>),
    /// Some scope of this kind, with any identifier; the kind is given as its wildcard.
    SomeOfKind(Scope),
}

impl RequiredScopes {
    /// Checks the scopes that a token holds.
    pub(crate) fn check(&self, held: &ScopeSet) -> Result<(), MissingScope> {
        match self {
            Self::All(scopes) if scopes.iter().all(|scope| held.cover(scope)) => Ok(()),
            Self::All(scopes) => {
                Err(MissingScope::All(scopes.iter().filter(|scope| !held.cover(scope)).cloned().collect()))
            }
            Self::Any(scopes) if scopes.iter().any(|scope| held.cover(scope)) => Ok(()),
            Self::Any(scopes) => Err(MissingScope::OneOf(scopes.to_vec())),
            Self::SomeOfKind(kind) if held.iter().any(|scope| kind.covers(scope)) => Ok(()),
            Self::SomeOfKind(kind) => Err(MissingScope::OfKind(kind.clone())),
        }
    }

    /// Returns the scopes that a challenge names: of alternatives the first, because a challenge cannot express *or*.
    pub(crate) fn challenge(&self) -> Vec<Scope> {
        match self {
            Self::All(scopes) => scopes.to_vec(),
            Self::Any(scopes) => scopes.iter().take(1).cloned().collect(),
            Self::SomeOfKind(kind) => vec![kind.clone()],
        }
    }

    fn new(quantifier: Quantifier, scopes: Box<[Scope]>) -> Self {
        match quantifier {
            Quantifier::All => Self::All(scopes),
            Quantifier::Any => Self::Any(scopes),
        }
    }
}

impl fmt::Display for RequiredScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(scopes) => f.write_str(&spaced(scopes)),
            Self::Any(scopes) => write!(f, "one of {}", spaced(scopes)),
            Self::SomeOfKind(kind) => write!(f, "{}:{}:…", kind.action(), kind.resource()),
        }
    }
}

impl Requirement {
    /// Parses scopes and templates. An error names the first text that is neither.
    pub(crate) fn parse<S: AsRef<str>>(quantifier: Quantifier, texts: &[S]) -> Result<Self, (&str, ScopeError)> {
        let templates = texts
            .iter()
            .map(|text| ScopeTemplate::parse(text.as_ref()).map_err(|cause| (text.as_ref(), cause)))
            .collect::<Result<Box<[_]>, _>>()?;
        match templates.iter().map(|template| template.as_scope().cloned()).collect() {
            Some(scopes) => Ok(Self::Fixed(RequiredScopes::new(quantifier, scopes))),
            None => Ok(Self::Templates(quantifier, templates)),
        }
    }

    /// Requires all of these scopes.
    pub(crate) fn all(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self::Fixed(RequiredScopes::All(scopes.into_iter().collect()))
    }

    /// Requires some scope of the kind `action:resource`.
    pub(crate) fn some_of_kind(kind: &str) -> Result<Self, ScopeError> {
        match Self::parse(Quantifier::All, &[format!("{kind}:*")]).map_err(|(_, cause)| cause)? {
            Self::Fixed(RequiredScopes::All(scopes)) => Ok(Self::Fixed(match &*scopes {
                [kind] => RequiredScopes::SomeOfKind(kind.clone()),
                _ => RequiredScopes::All(scopes),
            })),
            other @ (Self::Fixed(_) | Self::Templates(..) | Self::ByMethod(_) | Self::FromRequest(_)) => Ok(other),
        }
    }

    /// Returns the scopes that a request requires.
    pub(crate) fn required_scopes(
        &self,
        path: Option<&PathPattern>,
        head: &mut Parts,
    ) -> Result<Cow<'_, RequiredScopes>, Rejection> {
        match self {
            Self::Fixed(required) => Ok(Cow::Borrowed(required)),
            Self::Templates(quantifier, templates) => {
                let parameters = Parameters::of(path, head)?;
                let scopes = templates.iter().map(|template| fill(template, &parameters)).collect::<Result<_, _>>()?;
                Ok(Cow::Owned(RequiredScopes::new(*quantifier, scopes)))
            }
            Self::ByMethod(methods) => match for_method(methods, &head.method) {
                Some(requirement) => requirement.required_scopes(path, head),
                None => Err(Rejection::MethodNotAllowed { allowed: allowed(methods) }),
            },
            Self::FromRequest(Custom(scopes)) => {
                Ok(Cow::Owned(RequiredScopes::All(scopes(head)?.iter().cloned().collect())))
            }
        }
    }

    /// Returns the path parameters that the templates name.
    pub(crate) fn parameters(&self) -> Vec<&str> {
        match self {
            Self::Fixed(_) | Self::FromRequest(_) => Vec::new(),
            Self::Templates(_, templates) => templates.iter().filter_map(ScopeTemplate::parameter).collect(),
            Self::ByMethod(methods) => methods.iter().flat_map(|(_, requirement)| requirement.parameters()).collect(),
        }
    }
}

fn fill(template: &ScopeTemplate, parameters: &Parameters<'_>) -> Result<Scope, Rejection> {
    let Some(parameter) = template.parameter() else {
        return template.fill("").map_err(|error| bad_identifier("", error));
    };
    let identifier = parameters.decoded(parameter)?;
    template.fill(&identifier).map_err(|error| bad_identifier(parameter, error))
}

fn bad_identifier(parameter: &str, error: ScopeError) -> Rejection {
    Rejection::BadIdentifier { parameter: parameter.to_owned(), cause: IdentifierError::Scope(error) }
}

/// Returns the requirement for a method; `HEAD` falls back to `GET` (RFC 9110 §9.3.2).
fn for_method<'a>(methods: &'a [(Method, Requirement)], method: &Method) -> Option<&'a Requirement> {
    let listed = |required: &Method| methods.iter().find(|(method, _)| method == required).map(|(_, found)| found);
    listed(method).or_else(|| if method == Method::HEAD { listed(&Method::GET) } else { None })
}

fn allowed(methods: &[(Method, Requirement)]) -> Vec<Method> {
    let mut allowed: Vec<Method> = methods.iter().map(|(method, _)| method.clone()).collect();
    if allowed.contains(&Method::GET) && !allowed.contains(&Method::HEAD) {
        allowed.push(Method::HEAD);
    }
    allowed
}

/// Error of a requirement that a layer cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// A text is not a scope.
    #[error("invalid scope `{scope}`: {cause}")]
    #[non_exhaustive]
    InvalidScope {
        /// The text.
        scope: String,
        /// The reason.
        cause: ScopeError,
    },
    /// There is no scope.
    #[error("at least one scope is needed: none would let every token pass")]
    NoScopes,
    /// There is no method.
    #[error("at least one method is needed")]
    NoMethods,
    /// A method is listed more than once.
    #[error("`{method}` is listed twice")]
    #[non_exhaustive]
    RepeatedMethod {
        /// The method.
        method: Method,
    },
}

impl RequirementError {
    pub(crate) fn invalid_scope(scope: &str, cause: ScopeError) -> Self {
        Self::InvalidScope { scope: scope.to_owned(), cause }
    }
}

type RequiredScopesOf = dyn Fn(&Parts) -> Result<ScopeSet, BadRequest> + Send + Sync;

/// Closure that returns the scopes that a request requires.
#[derive(Clone)]
pub(crate) struct Custom(pub(crate) Arc<RequiredScopesOf>);

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Few enough names that scopes often cover each other, wildcards included.
    fn scope() -> impl Strategy<Value = Scope> {
        "[rw]:[ab]:([12*]|[12]:[12])".prop_map(|text| Scope::parse(&text).unwrap())
    }

    fn held() -> impl Strategy<Value = ScopeSet> {
        vec(scope(), 1..5).prop_map(|scopes| ScopeSet::new(scopes).unwrap())
    }

    fn required() -> impl Strategy<Value = RequiredScopes> {
        prop_oneof![
            vec(scope(), 1..4).prop_map(|scopes| RequiredScopes::All(scopes.into())),
            vec(scope(), 1..4).prop_map(|scopes| RequiredScopes::Any(scopes.into())),
            "[rw]:[ab]:\\*".prop_map(|text| RequiredScopes::SomeOfKind(Scope::parse(&text).unwrap())),
        ]
    }

    /// Second implementation of contract §2.
    fn is_granted(held: &ScopeSet, required: &Scope) -> bool {
        held.iter().any(|held| {
            let mut parts = held.as_str().splitn(3, ':').zip(required.as_str().splitn(3, ':'));
            parts.all(|(held, required)| held == required || held == "*")
        })
    }

    fn with(held: &ScopeSet, more: &[Scope]) -> ScopeSet {
        ScopeSet::new(held.iter().chain(more).cloned()).unwrap()
    }

    proptest! {
        #[test]
        fn check_agrees_with_second_implementation(held in held(), required in required()) {
            let expected = match &required {
                RequiredScopes::All(scopes) => scopes.iter().all(|scope| is_granted(&held, scope)),
                RequiredScopes::Any(scopes) => scopes.iter().any(|scope| is_granted(&held, scope)),
                RequiredScopes::SomeOfKind(kind) => held.iter().any(|scope| {
                    (scope.action(), scope.resource()) == (kind.action(), kind.resource())
                }),
            };
            prop_assert_eq!(required.check(&held).is_ok(), expected);
        }

        #[test]
        fn further_scopes_never_reject(held in held(), more in vec(scope(), 0..3), required in required()) {
            if required.check(&held).is_ok() {
                prop_assert_eq!(required.check(&with(&held, &more)), Ok(()));
            }
        }

        #[test]
        fn accepts_token_with_scopes_of_challenge(required in required()) {
            prop_assert_eq!(required.check(&ScopeSet::new(required.challenge()).unwrap()), Ok(()));
        }

        #[test]
        fn missing_scopes_are_not_held_and_suffice(held in held(), required in required()) {
            let missing = match required.check(&held) {
                Ok(()) => return Ok(()),
                Err(MissingScope::All(scopes) | MissingScope::OneOf(scopes)) => scopes,
                Err(MissingScope::OfKind(kind)) => vec![kind],
            };
            prop_assert!(missing.iter().all(|scope| !held.cover(scope)));
            prop_assert_eq!(required.check(&with(&held, &missing)), Ok(()));
        }

        #[test]
        fn all_accepted_implies_any_accepted(held in held(), scopes in vec(scope(), 1..4)) {
            if RequiredScopes::All(scopes.clone().into()).check(&held).is_ok() {
                prop_assert_eq!(RequiredScopes::Any(scopes.into()).check(&held), Ok(()));
            }
        }
    }
}
