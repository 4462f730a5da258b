//! Two arbitrary texts as scopes: parsing and covering agree with a naive implementation of the contract's rules.

use agentwrit_verify::Scope;

fn is_scope(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(3, ':').collect();
    let character = |c: char| matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
    text.len() <= 256
        && parts.len() == 3
        && parts.iter().all(|part| !part.is_empty() && part.chars().all(character))
        && !parts[0].contains('*')
        && !parts[1].contains('*')
        && (parts[2] == "*" || !parts[2].contains('*'))
}

fn covers(held: &str, wanted: &str) -> bool {
    held == wanted || held.strip_suffix('*').is_some_and(|prefix| prefix.ends_with(':') && wanted.starts_with(prefix))
}

/// Checks one input.
///
/// # Panics
///
/// When a property of the module is violated.
pub fn check(texts: (&str, &str)) {
    let (one, other) = texts;
    let (held, wanted) = (Scope::parse(one), Scope::parse(other));
    assert_eq!(held.is_ok(), is_scope(one), "{one:?}");
    assert_eq!(wanted.is_ok(), is_scope(other), "{other:?}");
    if let (Ok(held), Ok(wanted)) = (held, wanted) {
        assert_eq!(held.as_str(), one);
        assert_eq!([held.action(), held.resource(), held.identifier()].join(":"), one);
        assert_eq!(held.covers(&wanted), covers(one, other), "{one:?} and {other:?}");
    }
}
