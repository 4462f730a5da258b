//! Requirements of more than one scope: all, any, some of a kind, by method, from the request.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{Scope, ScopeSet};
use agentwrit_tower::{BadRequest, GrantedIdentifiers, Identifiers, MissingScope, Rejection, RequireScope};
use axum::Router;
use axum::extract::Path;
use axum::routing::{any, get};
use http::{Method, StatusCode};
use serde_json::json;
use tower_layer::Layer;

use crate::support::axum::get as get_as;
use crate::support::{
    CollectedResponse, INVALID_TOKEN, Inner, NO_TOKEN, bearer, get as plain_get, get_without_token, send,
};

async fn ask(layer: RequireScope, scopes: &[&str]) -> CollectedResponse {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = layer.verifier(issuer.verifier()).layer(inner.service());
    let response = send(&service, plain_get("/", &bearer(&issuer.token(scopes)))).await;
    assert_eq!(inner.calls(), usize::from(response.status == StatusCode::OK));
    response
}

fn challenge(scope: &str) -> String {
    format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{scope}""#)
}

#[tokio::test]
async fn all_of_requires_every_scope() {
    let layer = RequireScope::all_of(["read:data:7", "use:api:v2"]);
    for (scopes, status) in [
        (&["read:data:7", "use:api:v2"][..], StatusCode::OK),
        (&["use:api:*", "read:data:*", "x:y:z"], StatusCode::OK),
        (&["read:data:7"], StatusCode::FORBIDDEN),
        (&["use:api:v2"], StatusCode::FORBIDDEN),
        (&["read:data:8", "use:api:v2"], StatusCode::FORBIDDEN),
    ] {
        assert_eq!(ask(layer.clone(), scopes).await.status, status, "{scopes:?}");
    }
    let response = ask(layer, &["read:data:7"]).await;
    assert_eq!(response.header("www-authenticate"), Some(&*challenge("read:data:7 use:api:v2")));
    assert_eq!(response.json()["detail"], "the token lacks the required scope `use:api:v2`");
}

#[tokio::test]
async fn any_of_requires_one_scope() {
    let layer = RequireScope::any_of(["read:data:7", "audit:data:*"]);
    for (scopes, status) in [
        (&["read:data:7"][..], StatusCode::OK),
        (&["audit:data:*"], StatusCode::OK),
        (&["read:data:*", "audit:data:*"], StatusCode::OK),
        (&["audit:data:7"], StatusCode::FORBIDDEN),
        (&["read:data:8", "write:data:7"], StatusCode::FORBIDDEN),
    ] {
        assert_eq!(ask(layer.clone(), scopes).await.status, status, "{scopes:?}");
    }
    let response = ask(layer, &["read:data:8"]).await;
    assert_eq!(response.header("www-authenticate"), Some(&*challenge("read:data:7")));
    assert_eq!(response.json()["detail"], "the token holds none of the scopes `read:data:7 audit:data:*`");
}

#[tokio::test]
async fn scope_set_requires_every_scope() {
    let layer = RequireScope::from(ScopeSet::parse(["read:data:7", "use:api:v2"]).unwrap());
    assert_eq!(ask(layer.clone(), &["read:data:7", "use:api:v2"]).await.status, StatusCode::OK);
    assert_eq!(ask(layer, &["read:data:7"]).await.status, StatusCode::FORBIDDEN);
}

#[test]
fn panics_without_scopes() {
    for make in [|| RequireScope::all_of([""; 0]), || RequireScope::any_of([""; 0])] {
        let caught = std::panic::catch_unwind(make).unwrap_err();
        let message = caught.downcast_ref::<String>().unwrap();
        assert_eq!(message, "at least one scope is needed: none would let every token pass");
    }
}

async fn list(granted: GrantedIdentifiers) -> String {
    match granted.identifiers() {
        Identifiers::All => "all".to_owned(),
        Identifiers::Only(these) => these.join(","),
    }
}

async fn list_with(scopes: &[&str]) -> CollectedResponse {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/patients", get(list))
        .route_layer(RequireScope::some_of_kind("read:records").verifier(issuer.verifier()));
    send(&app, get_as("/patients", &issuer.token(scopes))).await
}

#[tokio::test]
async fn some_of_kind_accepts_any_identifier_and_lists_them() {
    for (scopes, listed) in [
        (&["read:records:P-7"][..], "P-7"),
        (&["read:records:P-7", "write:records:P-9", "read:labs:P-8", "read:records:P-1"], "P-7,P-1"),
        (&["read:records:P-7", "read:records:*"], "all"),
    ] {
        let response = list_with(scopes).await;
        assert_eq!((response.status, &*response.body), (StatusCode::OK, listed.as_bytes()), "{scopes:?}");
    }
    let response = list_with(&["write:records:*", "read:labs:P-7"]).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(response.header("www-authenticate"), Some(&*challenge("read:records:*")));
    assert_eq!(response.json()["detail"], "the token holds no scope `read:records:…`");
    let Some(Rejection::InsufficientScope { missing, .. }) = response.extensions.get() else { panic!("{response:?}") };
    assert_eq!(missing, &MissingScope::OfKind(Scope::parse("read:records:*").unwrap()));
}

#[test]
fn some_of_kind_panics_unless_kind_has_two_parts() {
    for kind in ["read", "read:", ":data", "read:data:7", "read:*", "*:data", "read:{kind}", ""] {
        assert!(std::panic::catch_unwind(|| RequireScope::some_of_kind(kind)).is_err(), "{kind}");
    }
}

fn by_method(issuer: &TestIssuer, inner: &Inner) -> Router {
    Router::new().route("/records/{patient_id}", any(inner.handler())).route_layer(
        RequireScope::by_method([
            (Method::GET, "read:records:{patient_id}"),
            (Method::PUT, "write:records:{patient_id}"),
        ])
        .verifier(issuer.verifier()),
    )
}

async fn send_method(app: &Router, method: Method, token: &str) -> CollectedResponse {
    let mut request = get_as("/records/P-7", token);
    *request.method_mut() = method;
    send(app, request).await
}

#[tokio::test]
async fn by_method_requires_scope_of_method() {
    let issuer = TestIssuer::new();
    let app = by_method(&issuer, &Inner::default());
    let reader = issuer.token(&["read:records:P-7"]);
    let writer = issuer.token(&["write:records:P-7"]);
    for (method, of_the_reader, of_the_writer) in [
        (Method::GET, StatusCode::OK, StatusCode::FORBIDDEN),
        (Method::HEAD, StatusCode::OK, StatusCode::FORBIDDEN),
        (Method::PUT, StatusCode::FORBIDDEN, StatusCode::OK),
    ] {
        assert_eq!(send_method(&app, method.clone(), &reader).await.status, of_the_reader, "{method}");
        assert_eq!(send_method(&app, method.clone(), &writer).await.status, of_the_writer, "{method}");
    }
}

#[tokio::test]
async fn unlisted_method_is_405_after_token() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let app = by_method(&issuer, &inner);
    let everything = issuer.token(&["read:records:*", "write:records:*"]);
    let unheard_of = Method::from_bytes(b"BREW").unwrap();
    for method in [Method::DELETE, Method::POST, Method::PATCH, Method::OPTIONS, Method::TRACE, unheard_of] {
        let response = send_method(&app, method.clone(), &everything).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(response.header("allow"), Some("GET, PUT, HEAD"));
        assert_eq!(response.json()["error_code"], "method_not_allowed");
        assert_eq!(send_method(&app, method, "a.b.c").await.header("www-authenticate"), Some(INVALID_TOKEN));
    }
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn listed_head_does_not_fall_back_to_get() {
    let layer = || RequireScope::by_method([(Method::GET, "read:data:7"), (Method::HEAD, "peek:data:7")]);
    let issuer = TestIssuer::new();
    let service = layer().verifier(issuer.verifier()).layer(Inner::default().service());
    let mut request = plain_get("/", &bearer(&issuer.token(&["read:data:7"])));
    *request.method_mut() = Method::HEAD;
    assert_eq!(send(&service, request).await.status, StatusCode::FORBIDDEN);
}

#[test]
#[should_panic(expected = "`GET` is listed twice")]
fn panics_for_method_listed_twice() {
    let _layer = RequireScope::by_method([(Method::GET, "read:data:7"), (Method::GET, "read:data:8")]);
}

fn tenant_scope() -> RequireScope {
    RequireScope::from_request(|head| {
        let tenant = head.headers.get("x-tenant").and_then(|tenant| tenant.to_str().ok());
        let tenant = tenant.ok_or_else(|| BadRequest::new("the x-tenant header is missing"))?;
        ScopeSet::parse([format!("use:tenant:{tenant}")]).map_err(|error| BadRequest::new(error.to_string()))
    })
}

#[tokio::test]
async fn from_request_requires_scopes_of_closure() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = tenant_scope().verifier(issuer.verifier()).layer(inner.service());
    let ask = async |tenant: &str, scope: &str| {
        let mut request = plain_get("/", &bearer(&issuer.token(&[scope])));
        request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        send(&service, request).await
    };
    assert_eq!(ask("acme", "use:tenant:acme").await.status, StatusCode::OK);
    let response = ask("acme", "use:tenant:other").await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(response.header("www-authenticate"), Some(&*challenge("use:tenant:acme")));
    assert_eq!(ask("a:*", "use:tenant:*").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(ask("acme:eu", "use:tenant:acme").await.status, StatusCode::FORBIDDEN);
    // Literally the wildcard: only a token with the wildcard is accepted.
    assert_eq!(ask("*", "use:tenant:acme").await.status, StatusCode::FORBIDDEN);
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn from_request_rejects_with_400_after_token() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = tenant_scope().verifier(issuer.verifier()).layer(inner.service());
    assert_eq!(send(&service, get_without_token("/")).await.header("www-authenticate"), Some(NO_TOKEN));
    let response = send(&service, plain_get("/", &bearer(&issuer.token(&["use:tenant:acme"])))).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        response.json(),
        json!({
            "type": "urn:agentwrit:error:invalid_request",
            "title": "Bad Request",
            "status": 400,
            "detail": "the x-tenant header is missing",
            "instance": "/",
            "error_code": "invalid_request",
            "request_id": "req-1",
        })
    );
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn placeholders_work_in_any_of() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/records/{patient_id}", get(async |Path(id): Path<String>| id)).route_layer(
        RequireScope::any_of(["read:records:{patient_id}", "audit:records:*"]).verifier(issuer.verifier()),
    );
    for (scope, status) in [
        ("read:records:P-7", StatusCode::OK),
        ("audit:records:*", StatusCode::OK),
        ("read:records:P-8", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(send(&app, get_as("/records/P-7", &issuer.token(&[scope]))).await.status, status, "{scope}");
    }
    // A token that covers another alternative does not excuse a malformed identifier.
    let auditor = issuer.token(&["audit:records:*"]);
    assert_eq!(send(&app, get_as("/records/%2A", &auditor)).await.status, StatusCode::BAD_REQUEST);
}
