//! Scopes with a gap that a parameter of axum's route fills: decoded once, one identifier or nothing.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{ScopeError, scope::ScopePart};
use agentwrit_tower::{Authenticate, IdentifierError, Misconfiguration, Rejection, RequireScope};
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use http::StatusCode;
use proptest::prelude::*;
use serde_json::json;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{CollectedResponse, INVALID_TOKEN, Inner, NO_TOKEN, mistake, send};

const OF_THIS_PATIENT: &str = "read:records:{patient_id}";

async fn echo(Path(patient_id): Path<String>) -> String {
    patient_id
}

/// `GET /patients/<segment>` with this scope, where the handler answers with the parameter as it sees it.
async fn ask(segment: &str, scope: &str) -> CollectedResponse {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/patients/{patient_id}", get(echo))
        .route_layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    send(&app, get_as(&format!("/patients/{segment}"), &issuer.token(&[scope]))).await
}

#[tokio::test]
async fn the_parameter_is_the_identifier() {
    for (segment, scope, status) in [
        ("P-1042", "read:records:P-1042", StatusCode::OK),
        ("P-1042", "read:records:*", StatusCode::OK),
        ("P-1042", "read:records:P-7", StatusCode::FORBIDDEN),
        ("P-1042", "read:records:p-1042", StatusCode::FORBIDDEN),
        ("P-1042", "write:records:*", StatusCode::FORBIDDEN),
        ("P-1042", "read:labs:P-1042", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(ask(segment, scope).await.status, status, "{segment} {scope}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_scope_of_this_very_request() {
    let answer = ask("P-1042", "read:records:P-7").await;
    assert_eq!(
        answer.header("www-authenticate"),
        Some(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="read:records:P-1042""#)
    );
    assert_eq!(answer.json()["detail"], "the token lacks the required scope `read:records:P-1042`");
}

#[tokio::test]
async fn it_is_decoded_exactly_once() {
    for (segment, held, status) in [
        ("P%2D1042", "read:records:P-1042", StatusCode::OK),
        // Decoded twice it would be `*`, or `P-1042`. Once, it is a text with a percent sign, and so the handler sees it.
        ("%252A", "read:records:%2A", StatusCode::OK),
        ("%252A", "read:records:P-1042", StatusCode::FORBIDDEN),
        ("P%252D1042", "read:records:P-1042", StatusCode::FORBIDDEN),
        ("P%252D1042", "read:records:P%2D1042", StatusCode::OK),
        // What is no escape stays as it is, for the handler too.
        ("%zz", "read:records:%zz", StatusCode::OK),
        ("100%", "read:records:100%", StatusCode::OK),
        ("a%2Fb", "read:records:a/b", StatusCode::OK),
        ("a%2Fb", "read:records:a", StatusCode::FORBIDDEN),
        ("arn:aws:s3:::logs", "read:records:arn:aws:s3:::logs", StatusCode::OK),
        ("arn%3Aaws%3as3%3A:%3Alogs", "read:records:arn:aws:s3:::logs", StatusCode::OK),
        ("arn:aws:s3:::logs", "read:records:arn", StatusCode::FORBIDDEN),
        ("arn:aws:s3:::logs", "read:records:logs", StatusCode::FORBIDDEN),
        ("P-7:x", "read:records:P-7", StatusCode::FORBIDDEN),
        ("P-7", "read:records:P-7:x", StatusCode::FORBIDDEN),
        (":", "read:records::", StatusCode::OK),
    ] {
        let answer = ask(segment, held).await;
        assert_eq!(answer.status, status, "{segment} {held}");
        if status == StatusCode::OK {
            let seen = String::from_utf8(answer.body.to_vec()).unwrap();
            assert_eq!(format!("read:records:{seen}"), held, "the handler sees what was checked");
        }
    }
}

#[tokio::test]
async fn what_is_no_identifier_is_400_even_for_a_wildcard() {
    for segment in [
        "*", "%2A", "%2a", "**", "a*", "a:*", "%3A%2A", "*:P-7", "%00", "P-7%0A", "%7F", "%20", "a%22b", "a%5Cb",
        "%C3%A9",
    ] {
        for held in ["read:records:*", "read:records:P-7"] {
            let answer = ask(segment, held).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{segment} {held}");
            assert_eq!(answer.json()["error_code"], "invalid_request", "{segment}");
            assert_eq!(answer.header("www-authenticate"), None, "{segment}");
            assert!(matches!(answer.extensions.get(), Some(Rejection::BadIdentifier { .. })), "{segment}");
        }
    }
}

#[tokio::test]
async fn the_400_to_the_letter() {
    let answer = ask("%2A", "read:records:*").await;
    assert_eq!(
        answer.json(),
        json!({
            "type": "urn:agentwrit:error:invalid_request",
            "title": "Bad Request",
            "status": 400,
            "detail": "the path's `patient_id` is not an identifier",
            "instance": "/patients/%2A",
            "error_code": "invalid_request",
            "request_id": "req-1",
            "hint": "an identifier has no `*`, space, quote, backslash or control character",
        })
    );
    let Some(Rejection::BadIdentifier { parameter, cause, .. }) = answer.extensions.get() else { panic!("{answer:?}") };
    assert_eq!(parameter, "patient_id");
    assert_eq!(cause, &IdentifierError::Scope(ScopeError::MisplacedWildcard { part: ScopePart::Identifier }));
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_400() {
    for segment in ["%FF", "P-7%C3", "%ED%A0%80"] {
        let answer = ask(segment, "read:records:*").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{segment}");
        let Some(Rejection::BadIdentifier { parameter, cause, .. }) = answer.extensions.get() else {
            panic!("{answer:?}")
        };
        assert_eq!((&**parameter, cause), ("patient_id", &IdentifierError::NotUtf8));
    }
}

#[tokio::test]
async fn an_identifier_too_long_for_a_scope_is_400() {
    assert_eq!(ask(&"a".repeat(243), "read:records:*").await.status, StatusCode::OK);
    assert_eq!(ask(&"a".repeat(244), "read:records:*").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_identifiers() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = Router::new()
        .route("/patients/{patient_id}", get(inner.handler()))
        .route_layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    for segment in ["P-7", "%2A", "%FF"] {
        let path = format!("/patients/{segment}");
        let answer = send(&app, get_without_token(&path)).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(NO_TOKEN)));
        let answer = send(&app, get_as(&path, "a.b.c")).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(INVALID_TOKEN)));
    }
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn an_empty_segment_reaches_no_handler() {
    let answer = ask("", "read:records:*").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_catch_all_may_have_slashes_and_nothing_worse() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/files/{*path}", get(echo))
        .route_layer(RequireScope::new("read:files:{path}").verifier(issuer.verifier()));
    for (path, scope, status) in [
        ("/files/a/b.txt", "read:files:a/b.txt", StatusCode::OK),
        ("/files/a/b.txt", "read:files:a", StatusCode::FORBIDDEN),
        ("/files/a/../b", "read:files:b", StatusCode::NOT_FOUND),
        ("/files/*", "read:files:*", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(send(&app, get_as(path, &issuer.token(&[scope]))).await.status, status, "{path} {scope}");
    }
}

/// As a gateway does it, whose client takes dot segments out of what it sends on.
#[tokio::test]
async fn what_would_resolve_to_another_path_is_404() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let layer = || RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier());
    let rest = Router::new().route("/{*rest}", get(inner.handler()));
    for app in [
        Router::new().route("/patients/{patient_id}/{*rest}", get(inner.handler())).layer(layer()),
        Router::new().nest("/patients/{patient_id}", rest.layer(layer())),
    ] {
        for path in ["../P-8/labs", "x/../../P-8/labs", "%2e%2E/P-8/labs", "..%2fP-8/labs", "./labs", "labs/.."] {
            let path = format!("/patients/P-7/{path}");
            for scope in ["read:records:P-7", "read:records:*"] {
                let answer = send(&app, get_as(&path, &issuer.token(&[scope]))).await;
                assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
                assert_eq!(answer.extensions.get(), Some(&Rejection::UnknownPath));
            }
            assert_eq!(send(&app, get_without_token(&path)).await.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(inner.calls(), 0);
    }
}

#[tokio::test]
async fn it_works_wherever_the_layer_stands() {
    let issuer = TestIssuer::new();
    let route = || Router::new().route("/patients/{patient_id}", get(echo));
    let layer = || RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier());
    let on_the_method = get(echo).layer(layer());
    let apps = [
        ("layer", "", route().layer(layer())),
        ("route_layer", "", route().route_layer(layer())),
        ("method", "", Router::new().route("/patients/{patient_id}", on_the_method)),
        ("merge", "", Router::new().merge(route().route_layer(layer()))),
        ("nest, inside", "/v1", Router::new().nest("/v1", route().layer(layer()))),
        ("nest, outside", "/v1", Router::new().nest("/v1", route()).layer(layer())),
        ("nest_service", "/v1", Router::new().nest_service("/v1", route().layer(layer()))),
        ("fallback_service", "", Router::new().fallback_service(route().layer(layer()))),
    ];
    for (place, prefix, app) in apps {
        let path = format!("{prefix}/patients/P-7");
        for (scope, status) in [("read:records:P-7", StatusCode::OK), ("read:records:P-8", StatusCode::FORBIDDEN)] {
            assert_eq!(send(&app, get_as(&path, &issuer.token(&[scope]))).await.status, status, "{place} {scope}");
        }
    }
}

#[tokio::test]
async fn a_parameter_of_the_nests_prefix_counts_too() {
    let issuer = TestIssuer::new();
    let inside =
        Router::new().route("/labs", get(Inner::default().handler())).layer(RequireScope::new(OF_THIS_PATIENT));
    let app = Router::new().nest("/patients/{patient_id}", inside).layer(Authenticate::new(issuer.verifier()));
    for (scope, status) in [("read:records:P-7", StatusCode::OK), ("read:records:P-8", StatusCode::FORBIDDEN)] {
        let answer = send(&app, get_as("/patients/P-7/labs", &issuer.token(&[scope]))).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_route_without_the_parameter_is_500_and_lets_nobody_through() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = Router::new()
        .route("/patients/{id}", get(inner.handler()))
        .layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    let answer = send(&app, get_as("/patients/P-7", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let Some(Rejection::Misconfigured(missing)) = answer.extensions.get() else { panic!("{answer:?}") };
    assert_eq!(missing.to_string(), "the scope wants the path parameter `patient_id`, which the route does not have");
    assert_eq!(answer.json(), mistake(&missing.to_string(), "/patients/P-7"));
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn a_path_without_a_route_is_404_not_a_mistake() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/patients/{patient_id}", get(echo))
        .layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    let answer = send(&app, get_as("/nowhere", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.extensions.get(), Some(&Rejection::UnknownPath));
}

#[tokio::test]
async fn a_parameter_that_a_path_has_twice_is_500() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let inside = Router::new()
        .route("/labs/{patient_id}", get(inner.handler()))
        .layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    let app = Router::new().nest_service("/patients/{patient_id}", inside);
    let answer = send(&app, get_as("/patients/P-7/labs/P-8", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(matches!(
        answer.extensions.get(),
        Some(Rejection::Misconfigured(Misconfiguration::RepeatedParameter { .. }))
    ));
    assert_eq!(inner.calls(), 0);
}

proptest! {
    /// Whatever stands in the path: who passes holds the scope of the very text that the handler sees.
    #[test]
    fn the_handler_sees_what_was_checked(segment in "([a-c]|%2[0-9A-F]|%3A|%25|%|%2A|%C3%A9|\\*|[0-9]){1,4}", wildcard in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let held = if wildcard { "read:records:*" } else { "read:records:a" };
        let answer = runtime.block_on(ask(&segment, held));
        let seen = String::from_utf8(answer.body.to_vec()).unwrap();
        match answer.status {
            StatusCode::OK => prop_assert!(!seen.contains('*') && (wildcard || seen == "a"), "{} {}", segment, seen),
            StatusCode::NOT_FOUND => prop_assert!(segment.contains("%2E"), "{}", segment),
            status => prop_assert!([StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST].contains(&status), "{} {}", segment, status),
        }
    }
}
