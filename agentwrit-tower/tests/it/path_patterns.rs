//! Scopes with a placeholder for services without a router: the layer has a path pattern.

use agentwrit_tower::verify::ScopeSet;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Misconfiguration, PathPatternError, Rejection, RequireScope};
use http::{Method, StatusCode};
use tower_layer::Layer;

use crate::support::{CollectedResponse, Inner, bearer, get, send};

const OF_THIS_PATIENT: &str = "read:records:{patient_id}";

async fn ask(path: &str, scope: &str) -> CollectedResponse {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new(OF_THIS_PATIENT)
        .path("/patients/{patient_id}/records")
        .verifier(issuer.verifier())
        .layer(inner.service());
    let response = send(&service, get(path, &bearer(&issuer.token(&[scope])))).await;
    assert_eq!(inner.calls(), usize::from(response.status == StatusCode::OK), "{path}");
    response
}

#[tokio::test]
async fn takes_identifier_from_parameter_of_pattern() {
    for (path, scope, status) in [
        ("/patients/P-7/records", "read:records:P-7", StatusCode::OK),
        ("/patients/P-7/records?patient_id=P-8", "read:records:P-7", StatusCode::OK),
        ("/patients/P-7/records?patient_id=P-8", "read:records:P-8", StatusCode::FORBIDDEN),
        ("/patients/P-7/records", "read:records:*", StatusCode::OK),
        ("/patients/P%2D7/records", "read:records:P-7", StatusCode::OK),
        ("/patients/P%252D7/records", "read:records:P-7", StatusCode::FORBIDDEN),
        ("/patients/a%2Fb/records", "read:records:a/b", StatusCode::OK),
        ("/patients/%2A/records", "read:records:*", StatusCode::BAD_REQUEST),
        ("/patients/*/records", "read:records:*", StatusCode::BAD_REQUEST),
        ("/patients/a%3Ab/records", "read:records:a:b", StatusCode::OK),
        ("/patients/a:b/records", "read:records:a", StatusCode::FORBIDDEN),
        ("/patients/a%3A%2A/records", "read:records:*", StatusCode::BAD_REQUEST),
        ("/patients/%0D%0A/records", "read:records:*", StatusCode::BAD_REQUEST),
        ("/patients/%FF/records", "read:records:*", StatusCode::BAD_REQUEST),
        ("/patients//records", "read:records:*", StatusCode::BAD_REQUEST),
        ("/patients/P-7/records/", "read:records:*", StatusCode::NOT_FOUND),
        ("/patients/P-7/records/../../P-8/records", "read:records:P-7", StatusCode::NOT_FOUND),
        ("/elsewhere", "read:records:*", StatusCode::NOT_FOUND),
        ("/", "read:records:*", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(ask(path, scope).await.status, status, "{path} {scope}");
    }
}

#[tokio::test]
async fn unmatched_path_is_404_with_problem() {
    let response = ask("/elsewhere", "read:records:*").await;
    assert_eq!(response.extensions.get(), Some(&Rejection::UnknownPath));
    assert_eq!(response.json()["error_code"], "not_found");
}

#[tokio::test]
async fn path_with_dot_segments_is_404() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new(OF_THIS_PATIENT)
        .path("/patients/{patient_id}/{*rest}")
        .verifier(issuer.verifier())
        .layer(inner.service());
    let token = bearer(&issuer.token(&["read:records:P-7"]));
    assert_eq!(send(&service, get("/patients/P-7/labs/1.2", &token)).await.status, StatusCode::OK);
    for path in ["../P-8/labs", "x/../../P-8/labs", "%2e%2E/P-8/labs", "..%2fP-8/labs", "..%5CP-8/labs", "labs/."] {
        let response = send(&service, get(&format!("/patients/P-7/{path}"), &token)).await;
        assert_eq!(response.extensions.get(), Some(&Rejection::UnknownPath), "{path}");
    }
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn unmatched_path_is_404_for_scope_without_placeholder() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let token = bearer(&issuer.token(&["read:records:*"]));
    let all_records = || ScopeSet::parse(["read:records:*"]).unwrap();
    for layer in [
        RequireScope::new("read:records:*"),
        RequireScope::from(all_records()),
        RequireScope::some_of_kind("read:records"),
        RequireScope::by_method([(Method::GET, "read:records:*"), (Method::PUT, "write:records:{patient_id}")]),
        RequireScope::from_request(move |_| Ok(all_records())),
    ] {
        let before = inner.calls();
        let service = layer.path("/patients/{patient_id}").verifier(issuer.verifier()).layer(inner.service());
        let response = send(&service, get("/billing/7", &token)).await;
        assert_eq!(response.extensions.get(), Some(&Rejection::UnknownPath));
        assert_eq!(inner.calls(), before);
        assert_eq!(send(&service, get("/patients/P-7", &token)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn placeholder_without_path_is_500() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = RequireScope::new(OF_THIS_PATIENT).verifier(issuer.verifier()).layer(inner.service());
    let response = send(&service, get("/patients/P-7", &bearer(&issuer.token(&["read:records:*"])))).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(matches!(
        response.extensions.get(),
        Some(Rejection::Misconfigured(Misconfiguration::NoSuchParameter { .. }))
    ));
    assert_eq!(inner.calls(), 0);
}

#[test]
fn rejects_pattern_without_parameter_at_construction() {
    let missing = PathPatternError::NoSuchParameter { parameter: "patient_id".into() };
    let layers = [
        RequireScope::new(OF_THIS_PATIENT),
        RequireScope::any_of(["audit:records:*", OF_THIS_PATIENT]),
        RequireScope::by_method([(Method::GET, "use:api:*"), (Method::PUT, OF_THIS_PATIENT)]),
    ];
    for layer in layers {
        assert_eq!(layer.clone().try_path("/patients/{id}").unwrap_err(), missing);
        assert!(layer.try_path("/patients/{patient_id}").is_ok());
    }
    let twice = RequireScope::new(OF_THIS_PATIENT).try_path("/patients/{patient_id}/labs/{patient_id}").unwrap_err();
    assert_eq!(twice, PathPatternError::RepeatedParameter { parameter: "patient_id".into() });
    let malformed = RequireScope::new(OF_THIS_PATIENT).try_path("/patients/{patient_id").unwrap_err();
    assert!(matches!(malformed, PathPatternError::Malformed { .. }));
}

#[test]
#[should_panic(expected = "invalid path `/patients/{id}`: the scope wants the path parameter `patient_id`")]
fn panics_for_literal_pattern_without_parameter() {
    let _layer = RequireScope::new(OF_THIS_PATIENT).path("/patients/{id}");
}
