//! `tests/vectors/scopes.json`, which `docs/verifying-elsewhere.md` promises to implementers.

use agentwrit_verify::{Scope, ScopeSet};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    valid: Vec<Valid>,
    invalid: Vec<String>,
    coverage: Vec<Coverage>,
}

#[derive(Deserialize)]
struct Valid {
    text: String,
    action: String,
    resource: String,
    identifier: String,
}

#[derive(Deserialize)]
struct Coverage {
    held: Vec<String>,
    wanted: String,
    covered: bool,
}

#[test]
fn published_vectors_hold() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/scopes.json")).unwrap();
    for Valid { text, action, resource, identifier } in &vectors.valid {
        let scope = Scope::parse(text).unwrap();
        assert_eq!((scope.action(), scope.resource(), scope.identifier()), (&**action, &**resource, &**identifier));
        assert_eq!(Scope::from_parts(action, resource, identifier), Ok(scope));
    }
    for text in &vectors.invalid {
        assert!(Scope::parse(text).is_err(), "{text:?}");
    }
    for Coverage { held, wanted, covered } in &vectors.coverage {
        let held = ScopeSet::parse(held).unwrap();
        assert_eq!(held.cover(&Scope::parse(wanted).unwrap()), *covered, "{held} covers {wanted}");
    }
    assert!(vectors.valid.len() >= 6 && vectors.invalid.len() >= 20 && vectors.coverage.len() >= 13);
}
