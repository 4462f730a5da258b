//! A bad literal stops the program where it is written; a bad text from elsewhere is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use agentwrit_tower::RequireScope;
use agentwrit_tower::verify::scope::ScopePart;
use agentwrit_tower::verify::{Scope, ScopeError};

#[test]
fn a_literal_that_is_no_scope_panics_at_the_callers_line() {
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
fn a_text_that_is_no_scope_is_an_error() {
    assert_eq!(RequireScope::try_new("read:data").unwrap_err(), ScopeError::NotThreeParts { found: 2 });
    for text in ["", "read", "read:data:", "read:*:x", "*:*:*", "read:data:x:*", "read:da ta:x", "read:data:\"x\""] {
        assert!(RequireScope::try_new(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_brace_that_makes_no_gap_is_refused_rather_than_taken_to_the_letter() {
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
fn a_scope_makes_a_layer() {
    assert!(RequireScope::try_new("read:data:*").is_ok());
    let _layer = RequireScope::from(Scope::parse("read:data:7").unwrap());
}

#[test]
fn layers_and_services_can_go_anywhere() {
    fn anywhere<T: Clone + Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    anywhere::<RequireScope>();
    anywhere::<agentwrit_tower::Authenticate>();
    anywhere::<agentwrit_tower::AuthenticateService<()>>();
    anywhere::<agentwrit_tower::RequireScopeService<()>>();
    anywhere::<agentwrit_tower::Verified>();
    anywhere::<agentwrit_tower::Rejection>();
}
