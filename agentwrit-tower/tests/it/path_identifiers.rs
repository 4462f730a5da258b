//! Scopes with a placeholder that a parameter of axum's route fills: decoded once, exactly one identifier.

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

/// Sends `GET /patients/<segment>` with this scope; the handler echoes the parameter.
async fn ask(segment: &str, scope: &str) -> CollectedResponse {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/patients/{patient_id}", get(echo))
        .route_layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    send(&app, get_as(&format!("/patients/{segment}"), &issuer.token(&[scope]))).await
}

#[tokio::test]
async fn takes_identifier_from_path_parameter() {
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
async fn rejection_names_scope_of_request() {
    let response = ask("P-1042", "read:records:P-7").await;
    assert_eq!(
        response.header("www-authenticate"),
        Some(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="read:records:P-1042""#)
    );
    assert_eq!(response.json()["detail"], "the token lacks the required scope `read:records:P-1042`");
}

#[tokio::test]
async fn decodes_parameter_once() {
    for (segment, held, status) in [
        ("P%2D1042", "read:records:P-1042", StatusCode::OK),
        // Decoded twice it would be `*`, or `P-1042`. Decoded once, it is a text with a percent sign, for the handler
        // too.
        ("%252A", "read:records:%2A", StatusCode::OK),
        ("%252A", "read:records:P-1042", StatusCode::FORBIDDEN),
        ("P%252D1042", "read:records:P-1042", StatusCode::FORBIDDEN),
        ("P%252D1042", "read:records:P%2D1042", StatusCode::OK),
        // An incomplete escape stays as it is, for the handler too.
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
        let response = ask(segment, held).await;
        assert_eq!(response.status, status, "{segment} {held}");
        if status == StatusCode::OK {
            let seen = String::from_utf8(response.body.to_vec()).unwrap();
            assert_eq!(format!("read:records:{seen}"), held, "the handler sees what was checked");
        }
    }
}

#[tokio::test]
async fn malformed_identifier_is_400_even_for_wildcard_token() {
    for segment in [
        "*", "%2A", "%2a", "**", "a*", "a:*", "%3A%2A", "*:P-7", "%00", "P-7%0A", "%7F", "%20", "a%22b", "a%5Cb",
        "%C3%A9",
    ] {
        for held in ["read:records:*", "read:records:P-7"] {
            let response = ask(segment, held).await;
            assert_eq!(response.status, StatusCode::BAD_REQUEST, "{segment} {held}");
            assert_eq!(response.json()["error_code"], "invalid_request", "{segment}");
            assert_eq!(response.header("www-authenticate"), None, "{segment}");
            assert!(matches!(response.extensions.get(), Some(Rejection::BadIdentifier { .. })), "{segment}");
        }
    }
}

#[tokio::test]
async fn bad_request_has_exact_body() {
    let response = ask("%2A", "read:records:*").await;
    assert_eq!(
        response.json(),
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
    let Some(Rejection::BadIdentifier { parameter, cause, .. }) = response.extensions.get() else {
        panic!("{response:?}")
    };
    assert_eq!(parameter, "patient_id");
    assert_eq!(cause, &IdentifierError::Scope(ScopeError::MisplacedWildcard { part: ScopePart::Identifier }));
}

#[tokio::test]
async fn non_utf8_identifier_is_400() {
    for segment in ["%FF", "P-7%C3", "%ED%A0%80"] {
        let response = ask(segment, "read:records:*").await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{segment}");
        let Some(Rejection::BadIdentifier { parameter, cause, .. }) = response.extensions.get() else {
            panic!("{response:?}")
        };
        assert_eq!((&**parameter, cause), ("patient_id", &IdentifierError::NotUtf8));
    }
}

#[tokio::test]
async fn too_long_identifier_is_400() {
    assert_eq!(ask(&"a".repeat(243), "read:records:*").await.status, StatusCode::OK);
    assert_eq!(ask(&"a".repeat(244), "read:records:*").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unauthenticated_client_gets_same_401_for_any_identifier() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = Router::new()
        .route("/patients/{patient_id}", get(inner.handler()))
        .route_layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    for segment in ["P-7", "%2A", "%FF"] {
        let path = format!("/patients/{segment}");
        let response = send(&app, get_without_token(&path)).await;
        assert_eq!((response.status, response.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(NO_TOKEN)));
        let response = send(&app, get_as(&path, "a.b.c")).await;
        assert_eq!(
            (response.status, response.header("www-authenticate")),
            (StatusCode::UNAUTHORIZED, Some(INVALID_TOKEN))
        );
    }
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn empty_segment_reaches_no_handler() {
    let response = ask("", "read:records:*").await;
    assert_eq!(response.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn catch_all_accepts_slashes_and_rejects_wildcards() {
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

/// Gateway whose client resolves dot segments in forwarded paths.
#[tokio::test]
async fn path_with_dot_segments_is_404() {
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
                let response = send(&app, get_as(&path, &issuer.token(&[scope]))).await;
                assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}");
                assert_eq!(response.extensions.get(), Some(&Rejection::UnknownPath));
            }
            assert_eq!(send(&app, get_without_token(&path)).await.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(inner.calls(), 0);
    }
}

#[tokio::test]
async fn works_at_every_position_of_layer() {
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
async fn takes_parameter_from_prefix_of_nest() {
    let issuer = TestIssuer::new();
    let inside =
        Router::new().route("/labs", get(Inner::default().handler())).layer(RequireScope::new(OF_THIS_PATIENT));
    let app = Router::new().nest("/patients/{patient_id}", inside).layer(Authenticate::new(issuer.verifier()));
    for (scope, status) in [("read:records:P-7", StatusCode::OK), ("read:records:P-8", StatusCode::FORBIDDEN)] {
        let response = send(&app, get_as("/patients/P-7/labs", &issuer.token(&[scope]))).await;
        assert_eq!(response.status, status);
    }
}

#[tokio::test]
async fn route_without_parameter_is_500() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = Router::new()
        .route("/patients/{id}", get(inner.handler()))
        .layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    let response = send(&app, get_as("/patients/P-7", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    let Some(Rejection::Misconfigured(missing)) = response.extensions.get() else { panic!("{response:?}") };
    assert_eq!(missing.to_string(), "the scope wants the path parameter `patient_id`, which the route does not have");
    assert_eq!(response.json(), mistake(&missing.to_string(), "/patients/P-7"));
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn path_without_route_is_404() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/patients/{patient_id}", get(echo))
        .layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    let response = send(&app, get_as("/nowhere", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(response.status, StatusCode::NOT_FOUND);
    assert_eq!(response.extensions.get(), Some(&Rejection::UnknownPath));
}

#[tokio::test]
async fn parameter_repeated_in_path_is_500() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let inside = Router::new()
        .route("/labs/{patient_id}", get(inner.handler()))
        .layer(RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()));
    let app = Router::new().nest_service("/patients/{patient_id}", inside);
    let response = send(&app, get_as("/patients/P-7/labs/P-8", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(matches!(
        response.extensions.get(),
        Some(Rejection::Misconfigured(Misconfiguration::RepeatedParameter { .. }))
    ));
    assert_eq!(inner.calls(), 0);
}

proptest! {
    /// For every path: an accepted token holds the scope of exactly the text that the handler receives.
    #[test]
    fn handler_sees_checked_identifier(segment in "([a-c]|%2[0-9A-F]|%3A|%25|%|%2A|%C3%A9|\\*|[0-9]){1,4}", wildcard in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let held = if wildcard { "read:records:*" } else { "read:records:a" };
        let response = runtime.block_on(ask(&segment, held));
        let seen = String::from_utf8(response.body.to_vec()).unwrap();
        match response.status {
            StatusCode::OK => prop_assert!(!seen.contains('*') && (wildcard || seen == "a"), "{} {}", segment, seen),
            StatusCode::NOT_FOUND => prop_assert!(segment.contains("%2E"), "{}", segment),
            status => prop_assert!([StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST].contains(&status), "{} {}", segment, status),
        }
    }
}
