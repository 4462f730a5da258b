//! Construction of layers: a malformed literal panics, a malformed text from elsewhere is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use agentwrit_tower::RequireScope;
use agentwrit_tower::verify::scope::ScopePart;
use agentwrit_tower::verify::{Scope, ScopeError};
use http::Method;

#[test]
fn panics_at_line_of_caller_for_malformed_literal() {
    let seen = Arc::new(Mutex::new(None));
    let previous = std::panic::take_hook();
    let (sink, here) = (Arc::clone(&seen), std::thread::current().id());
    std::panic::set_hook(Box::new(move |panic| {
        // Other tests may be failing at the same time.
        if std::thread::current().id() == here {
            *sink.lock().unwrap() = panic.location().map(|location| (location.file().to_owned(), location.line()));
        }
    }));
    let line = line!() + 1;
    let caught = catch_unwind(AssertUnwindSafe(|| drop(RequireScope::new("read:data"))));
    std::panic::set_hook(previous);

    let message = caught.unwrap_err().downcast_ref::<String>().unwrap().clone();
    assert_eq!(message, "invalid scope `read:data`: a scope is `action:resource:identifier`, three parts, not 2");
    let (file, at) = seen.lock().unwrap().clone().unwrap();
    assert!(file.ends_with("construction.rs"), "{file}");
    assert_eq!(at, line);
}

#[test]
fn try_new_rejects_malformed_scopes() {
    assert_eq!(RequireScope::try_new("read:data").unwrap_err(), ScopeError::NotThreeParts { found: 2 });
    for text in ["", "read", "read:data:", "read:*:x", "*:*:*", "read:data:x:*", "read:da ta:x", "read:data:\"x\""] {
        assert!(RequireScope::try_new(text).is_err(), "{text:?}");
    }
}

#[test]
fn fallible_forms_return_error_where_others_panic() {
    use agentwrit_tower::RequirementError::{InvalidScope, NoMethods, NoScopes, RepeatedMethod};
    let invalid = |error: agentwrit_tower::RequirementError, text: &str| {
        assert!(matches!(&error, InvalidScope { scope, .. } if scope == text), "{error:?}");
    };
    invalid(RequireScope::try_all_of(["read:data:7", "read:data"]).unwrap_err(), "read:data");
    invalid(RequireScope::try_any_of(["*:*:*", "read:data:7"]).unwrap_err(), "*:*:*");
    invalid(RequireScope::try_some_of_kind("read").unwrap_err(), "read");
    invalid(RequireScope::try_by_method([(Method::GET, "read")]).unwrap_err(), "read");
    assert_eq!(RequireScope::try_all_of(Vec::<String>::new()).unwrap_err(), NoScopes);
    assert_eq!(RequireScope::try_any_of(Vec::<String>::new()).unwrap_err(), NoScopes);
    assert_eq!(RequireScope::try_by_method(Vec::<(Method, String)>::new()).unwrap_err(), NoMethods);
    let twice = RequireScope::try_by_method([(Method::GET, "read:data:7"), (Method::GET, "read:data:8")]).unwrap_err();
    assert!(matches!(twice, RepeatedMethod { method: Method::GET, .. }), "{twice:?}");

    assert!(RequireScope::try_all_of(["read:data:7", "read:labs:{id}"]).is_ok());
    assert!(RequireScope::try_any_of(["read:data:7", "read:labs:{id}"]).is_ok());
    assert!(RequireScope::try_some_of_kind("read:data").is_ok());
    assert!(RequireScope::try_by_method([(Method::GET, "read:data:7"), (Method::HEAD, "read:data:8")]).is_ok());
}

#[test]
fn rejects_braces_outside_of_placeholder() {
    for (text, part, character) in [
        ("read:records:P-{patient_id}", ScopePart::Identifier, '{'),
        ("read:records:patient_id}", ScopePart::Identifier, '}'),
        ("read:{kind}:7", ScopePart::Resource, '{'),
        ("{verb}:records:7", ScopePart::Action, '{'),
    ] {
        assert_eq!(RequireScope::try_new(text).unwrap_err(), ScopeError::ForbiddenCharacter { part, character });
    }
}

#[test]
fn builds_layer_from_scope() {
    assert!(RequireScope::try_new("read:data:*").is_ok());
    let _layer = RequireScope::from(Scope::parse("read:data:7").unwrap());
}

#[test]
fn layers_and_services_are_clone_send_sync() {
    fn anywhere<T: Clone + Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    anywhere::<RequireScope>();
    anywhere::<agentwrit_tower::Authenticate>();
    anywhere::<agentwrit_tower::AuthenticateService<()>>();
    anywhere::<agentwrit_tower::RequireScopeService<()>>();
    anywhere::<agentwrit_tower::Verified>();
    anywhere::<agentwrit_tower::Rejection>();
}
