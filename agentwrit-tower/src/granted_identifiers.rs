//! Identifiers that a token grants for one kind of scope.

use agentwrit_verify::{Scope, ScopeSet};

/// Identifiers that the token grants for the kind `action:resource` that
/// [`RequireScope::some_of_kind`](crate::RequireScope::some_of_kind) requires: the filter of a listing.
///
/// That layer inserts it into the request's extensions; with the `axum` feature it is an extractor too. Of several such
/// layers around a handler the innermost one counts; [`GrantedIdentifiers::from_scopes`] computes it for any kind.
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
    /// `None`: all identifiers.
    only: Option<Box<[Box<str>]>>,
}

/// The identifiers that are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a handler must decide both cases, and there is no third")]
pub enum Identifiers<'a> {
    /// Every identifier: the token holds the kind's wildcard.
    All,
    /// These identifiers, each once, in the token's order. Empty when the token holds no scope of the kind.
    Only(&'a [Box<str>]),
}

impl GrantedIdentifiers {
    /// Computes the identifiers that `held` grants for the action and resource of `kind`, whose identifier is ignored.
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

    /// Returns the identifiers.
    #[must_use]
    pub fn identifiers(&self) -> Identifiers<'_> {
        match &self.only {
            None => Identifiers::All,
            Some(these) => Identifiers::Only(these),
        }
    }

    /// Returns `true` if the identifier is granted.
    #[must_use]
    pub fn includes(&self, identifier: &str) -> bool {
        match &self.only {
            None => true,
            Some(these) => these.iter().any(|granted| **granted == *identifier),
        }
    }

    /// Returns the action of the kind.
    #[must_use]
    pub fn action(&self) -> &str {
        self.kind.action()
    }

    /// Returns the resource of the kind.
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
    fn wildcard_grants_all_identifiers_beside_others() {
        assert_eq!(granted(&["read:data:7", "read:data:*"]).identifiers(), Identifiers::All);
    }

    #[test]
    fn ignores_scopes_of_other_kinds() {
        let granted = granted(&["read:data:7", "write:data:8", "read:labs:9", "read:data:a", "write:data:*"]);
        assert_eq!(granted.identifiers(), Identifiers::Only(&["7".into(), "a".into()]));
        assert!(granted.includes("7") && !granted.includes("8") && !granted.includes("*"));
    }
}
