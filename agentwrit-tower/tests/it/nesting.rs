//! Nested layers: requirements add up, and a layer with a verifier ignores outer claims.

use agentwrit_tower::verify::VerifyError;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{
    Authenticate, GrantedIdentifiers, Misconfiguration, Rejection, RequireScope, TokenSource, Verified,
};
use axum::Router;
use axum::routing;
use http::StatusCode;
use http::header::COOKIE;
use tower::ServiceBuilder;

use crate::support::axum::get as get_as;
use crate::support::{Inner, bearer, get, send};

#[tokio::test]
async fn requires_scope_of_every_layer() {
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
        let response = send(&service, get("/", &bearer(&issuer.token(scopes)))).await;
        assert_eq!(response.status, status, "{scopes:?}");
    }
}

#[tokio::test]
async fn outer_require_scope_verifies_for_inner_one() {
    let issuer = TestIssuer::new();
    let service = ServiceBuilder::new()
        .layer(RequireScope::new("read:data:7").verifier(issuer.verifier()))
        .layer(RequireScope::new("write:data:7"))
        .service(Inner::default().service());
    let response = send(&service, get("/", &bearer(&issuer.token(&["read:data:7", "write:data:7"])))).await;
    assert_eq!(response.status, StatusCode::OK);
    let response = send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn layers_in_wrong_order_reject_every_request() {
    let issuer = TestIssuer::new();
    let inner = Inner::default();
    let service = ServiceBuilder::new()
        .layer(RequireScope::new("read:data:7"))
        .layer(Authenticate::new(issuer.verifier()))
        .service(inner.service());
    let response = send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn layer_with_verifier_ignores_outer_claims() {
    let issuer = TestIssuer::new();
    let demanding = issuer.verifier_builder().audience("https://here.test").build();
    let inner = Inner::default();
    let service = ServiceBuilder::new()
        .layer(Authenticate::new(issuer.verifier()))
        .layer(RequireScope::new("read:data:7").verifier(demanding))
        .service(inner.service());

    let response = send(&service, get("/", &bearer(&issuer.token(&["read:data:7"])))).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert_eq!(response.extensions.get(), Some(&Rejection::InvalidToken(VerifyError::WrongAudience)));
    assert_eq!(inner.calls(), 0);
}

async fn list(granted: GrantedIdentifiers) -> String {
    format!("{:?}", granted.identifiers())
}

#[tokio::test]
async fn granted_identifiers_are_removed_when_another_token_is_verified() {
    let issuer = TestIssuer::new();
    let in_cookie = || TokenSource::cookie("token");
    let listing = RequireScope::some_of_kind("read:records").verifier(issuer.verifier());
    for inner in [Authenticate::new(issuer.verifier()), Authenticate::optional(issuer.verifier())] {
        let app =
            Router::new().route("/", routing::get(list)).layer(inner.token_source(in_cookie())).layer(listing.clone());
        let mut request = get_as("/", &issuer.token(&["read:records:*"]));
        request.headers_mut().insert(COOKIE, format!("token={}", issuer.token(&["use:api:v2"])).parse().unwrap());
        let response = send(&app, request).await;
        assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoGrantedIdentifiers)));
    }

    let without_token = Authenticate::optional(issuer.verifier()).token_source(in_cookie());
    let app = Router::new().route("/", routing::get(list)).layer(without_token).layer(listing);
    let response = send(&app, get_as("/", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn granted_identifiers_stay_when_same_token_is_verified_again() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/", routing::get(list))
        .layer(RequireScope::new("use:api:v2").verifier(issuer.verifier()))
        .layer(RequireScope::some_of_kind("read:records").verifier(issuer.verifier()));
    let response = send(&app, get_as("/", &issuer.token(&["read:records:P-7", "use:api:v2"]))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::OK, &br#"Only(["P-7"])"#[..]));
}

/// Two issuers: a grant of the one opens nothing beneath the verifier of the other.
#[tokio::test]
async fn claims_are_of_nearest_layer_that_verifies() {
    let (ours, theirs) = (TestIssuer::new(), TestIssuer::with_seed([9; 32]));
    let in_cookie = || TokenSource::cookie("token");
    let who = async |caller: Verified| caller.token_id().to_string();
    for inner in [Authenticate::new(theirs.verifier()), Authenticate::optional(theirs.verifier())] {
        let app = Router::new()
            .route("/", routing::get(who).layer(RequireScope::new("read:data:7")))
            .layer(inner.token_source(in_cookie()))
            .layer(Authenticate::new(ours.verifier()));
        let ask = async |cookie: Option<&str>| {
            let mut request = get_as("/", &ours.token(&["read:data:7"]));
            if let Some(token) = cookie {
                request.headers_mut().insert(COOKIE, format!("token={token}").parse().unwrap());
            }
            send(&app, request).await
        };
        assert_eq!(ask(None).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(Some(&ours.token(&["read:data:7"]))).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(Some(&theirs.token(&["read:data:8"]))).await.status, StatusCode::FORBIDDEN);
        let claims = theirs.claims(&["read:data:7"]);
        let response = ask(Some(&theirs.sign(&claims))).await;
        assert_eq!((response.status, &*response.body), (StatusCode::OK, claims.jti.to_string().as_bytes()));
    }
}

/// axum puts a layer around existing routes. A later route is open, unless its handler extracts the claims.
#[tokio::test]
async fn extractor_is_500_when_layer_was_added_before_route() {
    let issuer = TestIssuer::new();
    let handler = async |_: Verified| "inner";
    let by_route = Router::new().layer(Authenticate::new(issuer.verifier())).route("/", routing::get(handler));
    let early = routing::put(handler).layer(RequireScope::new("write:data:7").verifier(issuer.verifier()));
    for app in [by_route, Router::new().route("/", early.get(handler))] {
        let response = send(&app, get_as("/", &issuer.token(&["write:data:7"]))).await;
        assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoClaims)));
    }
}
