//! Which things of a kind a token may touch.

use agentwrit_verify::{Scope, ScopeSet};

/// Which identifiers the token grants of the kind that
/// [`RequireScope::some_of_kind`](crate::RequireScope::some_of_kind) requires: what a listing must be cut down to.
///
/// That layer leaves it in the request's extensions; with the `axum` feature it is an extractor too. Where several such
/// layers stand around a handler, it is of the innermost one; [`GrantedIdentifiers::from_scopes`] works it out for any kind.
///
/// ```
/// use agentwrit_tower::{GrantedIdentifiers, Identifiers};
///
/// async fn list_patients(granted: GrantedIdentifiers) -> String {
///     match granted.identifiers() {
///         Identifiers::All => "SELECT * FROM patients".to_owned(),
///         Identifiers::Only(these) => format!("… WHERE id IN ({} parameters)", these.len()),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedIdentifiers {
    kind: Scope,
    /// `None`: all of them.
    only: Option<Box<[Box<str>]>>,
}

/// All identifiers, or these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a handler must decide both cases, and there is no third")]
pub enum Identifiers<'a> {
    /// Every one: the token holds the kind's wildcard.
    All,
    /// These, each once, in the token's order. None when the token holds nothing of the kind.
    Only(&'a [Box<str>]),
}

impl GrantedIdentifiers {
    /// What these scopes grant of the kind of `kind`, an identifier of which is not looked at.
    ///
    /// ```
    /// use agentwrit_tower::{GrantedIdentifiers, verify::{ScopeSet, scope}};
    ///
    /// let held = ScopeSet::parse(["read:labs:P-7", "read:records:*"]).unwrap();
    /// assert!(GrantedIdentifiers::from_scopes(&held, &scope!("read:labs:*")).includes("P-7"));
    /// assert!(!GrantedIdentifiers::from_scopes(&held, &scope!("read:labs:*")).includes("P-8"));
    /// assert!(GrantedIdentifiers::from_scopes(&held, &scope!("read:records:*")).includes("P-8"));
    /// ```
    #[must_use]
    pub fn from_scopes(held: &ScopeSet, kind: &Scope) -> Self {
        let same_kind = |scope: &&Scope| (scope.action(), scope.resource()) == (kind.action(), kind.resource());
        let all = held.iter().filter(same_kind).any(Scope::is_wildcard);
        let only = || held.iter().filter(same_kind).map(|scope| scope.identifier().into()).collect();
        Self { kind: kind.clone(), only: (!all).then(only) }
    }

    /// The identifiers.
    #[must_use]
    pub fn identifiers(&self) -> Identifiers<'_> {
        match &self.only {
            None => Identifiers::All,
            Some(these) => Identifiers::Only(these),
        }
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn includes(&self, identifier: &str) -> bool {
        match &self.only {
            None => true,
            Some(these) => these.iter().any(|granted| **granted == *identifier),
        }
    }

    /// What may be done to them.
    #[must_use]
    pub fn action(&self) -> &str {
        self.kind.action()
    }

    /// What they are.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.kind.resource()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(held: &[&str]) -> GrantedIdentifiers {
        GrantedIdentifiers::from_scopes(&ScopeSet::parse(held).unwrap(), &Scope::parse("read:data:*").unwrap())
    }

    #[test]
    fn a_wildcard_is_all_whatever_stands_beside_it() {
        assert_eq!(granted(&["read:data:7", "read:data:*"]).identifiers(), Identifiers::All);
    }

    #[test]
    fn other_kinds_do_not_count() {
        let granted = granted(&["read:data:7", "write:data:8", "read:labs:9", "read:data:a", "write:data:*"]);
        assert_eq!(granted.identifiers(), Identifiers::Only(&["7".into(), "a".into()]));
        assert!(granted.includes("7") && !granted.includes("8") && !granted.includes("*"));
    }
}
