//! What a token must grant, and the decision whether it does: a pure function.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use agentwrit_verify::{Scope, ScopeError, ScopeSet, ScopeTemplate};
use http::Method;
use http::request::Parts;

use crate::path::{Parameters, PathPattern};
use crate::rejection::{BadRequest, IdentifierError, MissingScope, Rejection, spaced};

/// What a token must grant for a request that is not there yet.
#[derive(Clone, Debug)]
pub(crate) enum Requirement {
    /// The same for every request.
    Fixed(RequiredScopes),
    /// Scopes with gaps, which the request's path fills.
    Templates(Quantifier, Box<[ScopeTemplate]>),
    /// Another one for each method. A method without one is rejected.
    ByMethod(Box<[(Method, Requirement)]>),
    /// What a closure reads out of the request.
    FromRequest(Custom),
}

/// Whether all are needed or any will do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quantifier {
    All,
    Any,
}

/// What a token must grant for the request at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequiredScopes {
    /// Every one of these.
    All(Box<[Scope]>),
    /// One of these at least.
    Any(Box<[Scope]>),
    /// Some scope of this kind, whatever its identifier; the kind as its wildcard.
    SomeOfKind(Scope),
}

impl RequiredScopes {
    /// The decision.
    pub(crate) fn judge(&self, held: &ScopeSet) -> Result<(), MissingScope> {
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

    /// What a token needs, as a challenge names it: of alternatives the first, because a challenge can't say *or*.
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
    /// The scopes that these texts spell.
    pub(crate) fn parse(quantifier: Quantifier, texts: &[impl AsRef<str>]) -> Result<Self, ScopeError> {
        let templates =
            texts.iter().map(|text| ScopeTemplate::parse(text.as_ref())).collect::<Result<Box<[_]>, _>>()?;
        match templates.iter().map(|template| template.as_scope().cloned()).collect() {
            Some(scopes) => Ok(Self::Fixed(RequiredScopes::new(quantifier, scopes))),
            None => Ok(Self::Templates(quantifier, templates)),
        }
    }

    /// All of these, to the letter.
    pub(crate) fn all(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self::Fixed(RequiredScopes::All(scopes.into_iter().collect()))
    }

    /// Some scope of the kind `action:resource`.
    pub(crate) fn some_of_kind(kind: &str) -> Result<Self, ScopeError> {
        match Self::parse(Quantifier::All, &[format!("{kind}:*")])? {
            Self::Fixed(RequiredScopes::All(scopes)) => Ok(Self::Fixed(match &*scopes {
                [kind] => RequiredScopes::SomeOfKind(kind.clone()),
                _ => RequiredScopes::All(scopes),
            })),
            other @ (Self::Fixed(_) | Self::Templates(..) | Self::ByMethod(_) | Self::FromRequest(_)) => Ok(other),
        }
    }

    /// What this request needs.
    pub(crate) fn wanted(
        &self,
        path: Option<&PathPattern>,
        head: &mut Parts,
    ) -> Result<Cow<'_, RequiredScopes>, Rejection> {
        match self {
            Self::Fixed(wanted) => Ok(Cow::Borrowed(wanted)),
            Self::Templates(quantifier, templates) => {
                let parameters = Parameters::of(path, head)?;
                let scopes = templates.iter().map(|template| fill(template, &parameters)).collect::<Result<_, _>>()?;
                Ok(Cow::Owned(RequiredScopes::new(*quantifier, scopes)))
            }
            Self::ByMethod(methods) => match for_method(methods, &head.method) {
                Some(requirement) => requirement.wanted(path, head),
                None => Err(Rejection::MethodNotAllowed { allowed: allowed(methods) }),
            },
            Self::FromRequest(Custom(scopes)) => {
                Ok(Cow::Owned(RequiredScopes::All(scopes(head)?.iter().cloned().collect())))
            }
        }
    }

    /// The parameters that its gaps name.
    pub(crate) fn parameters(&self) -> Vec<&str> {
        match self {
            Self::Fixed(_) | Self::FromRequest(_) => Vec::new(),
            Self::Templates(_, templates) => templates.iter().filter_map(ScopeTemplate::parameter).collect(),
            Self::ByMethod(methods) => methods.iter().flat_map(|(_, requirement)| requirement.parameters()).collect(),
        }
    }
}

fn fill(template: &ScopeTemplate, parameters: &Parameters<'_>) -> Result<Scope, Rejection> {
    let Some(parameter) = template.parameter() else { return template.fill("").map_err(|error| bad("", error)) };
    let identifier = parameters.named(parameter)?;
    template.fill(&identifier).map_err(|error| bad(parameter, error))
}

fn bad(parameter: &str, error: ScopeError) -> Rejection {
    Rejection::BadIdentifier { parameter: parameter.to_owned(), cause: IdentifierError::Scope(error) }
}

/// The one for this method; for `HEAD` that of `GET` too, as RFC 9110 §9.3.2 makes them one.
fn for_method<'a>(methods: &'a [(Method, Requirement)], method: &Method) -> Option<&'a Requirement> {
    let listed = |wanted: &Method| methods.iter().find(|(method, _)| method == wanted).map(|(_, found)| found);
    listed(method).or_else(|| if method == Method::HEAD { listed(&Method::GET) } else { None })
}

fn allowed(methods: &[(Method, Requirement)]) -> Vec<Method> {
    let mut allowed: Vec<Method> = methods.iter().map(|(method, _)| method.clone()).collect();
    if allowed.contains(&Method::GET) && !allowed.contains(&Method::HEAD) {
        allowed.push(Method::HEAD);
    }
    allowed
}

type ReadScopes = dyn Fn(&Parts) -> Result<ScopeSet, BadRequest> + Send + Sync;

/// A closure from a request to the scopes that it needs, all of them.
#[derive(Clone)]
pub(crate) struct Custom(pub(crate) Arc<ReadScopes>);

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

    /// Few enough names that scopes often meet, wildcards included.
    fn scope() -> impl Strategy<Value = Scope> {
        "[rw]:[ab]:([12*]|[12]:[12])".prop_map(|text| Scope::parse(&text).unwrap())
    }

    fn held() -> impl Strategy<Value = ScopeSet> {
        vec(scope(), 1..5).prop_map(|scopes| ScopeSet::new(scopes).unwrap())
    }

    fn wanted() -> impl Strategy<Value = RequiredScopes> {
        prop_oneof![
            vec(scope(), 1..4).prop_map(|scopes| RequiredScopes::All(scopes.into())),
            vec(scope(), 1..4).prop_map(|scopes| RequiredScopes::Any(scopes.into())),
            "[rw]:[ab]:\\*".prop_map(|text| RequiredScopes::SomeOfKind(Scope::parse(&text).unwrap())),
        ]
    }

    /// Contract §2, written a second time.
    fn is_granted(held: &ScopeSet, wanted: &Scope) -> bool {
        held.iter().any(|held| {
            let mut parts = held.as_str().splitn(3, ':').zip(wanted.as_str().splitn(3, ':'));
            parts.all(|(held, wanted)| held == wanted || held == "*")
        })
    }

    fn with(held: &ScopeSet, more: &[Scope]) -> ScopeSet {
        ScopeSet::new(held.iter().chain(more).cloned()).unwrap()
    }

    proptest! {
        #[test]
        fn it_decides_as_the_contract_says(held in held(), wanted in wanted()) {
            let expected = match &wanted {
                RequiredScopes::All(scopes) => scopes.iter().all(|scope| is_granted(&held, scope)),
                RequiredScopes::Any(scopes) => scopes.iter().any(|scope| is_granted(&held, scope)),
                RequiredScopes::SomeOfKind(kind) => held.iter().any(|scope| {
                    (scope.action(), scope.resource()) == (kind.action(), kind.resource())
                }),
            };
            prop_assert_eq!(wanted.judge(&held).is_ok(), expected);
        }

        #[test]
        fn holding_more_never_grants_less(held in held(), more in vec(scope(), 0..3), wanted in wanted()) {
            if wanted.judge(&held).is_ok() {
                prop_assert_eq!(wanted.judge(&with(&held, &more)), Ok(()));
            }
        }

        #[test]
        fn a_token_with_what_the_challenge_names_passes(wanted in wanted()) {
            prop_assert_eq!(wanted.judge(&ScopeSet::new(wanted.challenge()).unwrap()), Ok(()));
        }

        #[test]
        fn what_is_missing_is_not_held_and_is_enough(held in held(), wanted in wanted()) {
            let missing = match wanted.judge(&held) {
                Ok(()) => return Ok(()),
                Err(MissingScope::All(scopes) | MissingScope::OneOf(scopes)) => scopes,
                Err(MissingScope::OfKind(kind)) => vec![kind],
            };
            prop_assert!(missing.iter().all(|scope| !held.cover(scope)));
            prop_assert_eq!(wanted.judge(&with(&held, &missing)), Ok(()));
        }

        #[test]
        fn all_is_stricter_than_any(held in held(), scopes in vec(scope(), 1..4)) {
            if RequiredScopes::All(scopes.clone().into()).judge(&held).is_ok() {
                prop_assert_eq!(RequiredScopes::Any(scopes.into()).judge(&held), Ok(()));
            }
        }
    }
}
