//! Nesting adds up, and a layer with a verifier believes no other.

use agentwrit_tower::verify::VerifyError;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, Refusal, RequireScope};
use http::StatusCode;
use tower::ServiceBuilder;

use crate::support::{Inner, bearer, get, send};

#[tokio::test]
async fn every_scope_on_the_way_is_required() {
    let issuer = TestIssuer::new();
    let service = ServiceBuilder::new()
        .layer(Authenticate::new(issuer.verifier()))
        .layer(RequireScope::new("read:data:7"))
        .layer(RequireScope::new("write:data:7"))
        .service(Inner::default().service());

    for (scopes, status) in [
        (&["read:data:7", "write:data:7"][..], StatusCode::OK),
        (&["read:data:*", "write:data:*"], StatusCode::OK),
        (&["read:data:7"], StatusCode::FORBIDDEN),
        (&["write:data:7"], StatusCode::FORBIDDEN),
        (&["read:data:8", "write:data:7"], StatusCode::FORBIDDEN),
    ] {
        let answer = send(&service, get("/", &bearer(&issuer.token(scopes)))).await;
        assert_eq!(answer.status, status, "{scopes:?}");
    }
}

#[tokio::test]
async fn an_outer_require_scope_verifies_for_an_inner_one() {
    let issuer = TestIssuer::new();
    let service = ServiceBuilder::new()
        .layer(RequireScope::new("read:data:7").verifier(issuer.verifier()))
        .layer(RequireScope::new("write:data:7"))
        .service(Inner::default().service());
    let answer = send(&service, get("/", &bearer(&issuer.token(&["read:data:7", "write:data:7"])))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn layers_in_the_wrong_order_let_nobody_through() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = ServiceBuilder::new()
        .layer(RequireScope::new("read:data:7"))
        .layer(Authenticate::new(issuer.verifier()))
        .service(inner.service());
    let answer = send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn a_layer_with_a_verifier_believes_no_other() {
    let issuer = TestIssuer::new();
    let demanding = issuer.verifier_builder().audience("https://here.test").build();
    let inner = Inner::default();
    let service = ServiceBuilder::new()
        .layer(Authenticate::new(issuer.verifier()))
        .layer(RequireScope::new("read:data:7").verifier(demanding))
        .service(inner.service());

    let answer = send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.extensions.get(), Some(&Refusal::InvalidToken(VerifyError::WrongAudience)));
    assert_eq!(inner.calls(), 0);
}
