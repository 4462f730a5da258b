//! Nesting adds up, and a layer with a verifier believes no other.

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
    assert_eq!(answer.extensions.get(), Some(&Rejection::InvalidToken(VerifyError::WrongAudience)));
    assert_eq!(inner.calls(), 0);
}

async fn list(granted: GrantedIdentifiers) -> String {
    format!("{:?}", granted.identifiers())
}

#[tokio::test]
async fn what_one_token_grants_is_not_read_with_the_claims_of_another() {
    let issuer = TestIssuer::new();
    let in_cookie = || TokenSource::cookie("token");
    let listing = RequireScope::some_of_kind("read:records").verifier(issuer.verifier());
    for inner in [Authenticate::new(issuer.verifier()), Authenticate::optional(issuer.verifier())] {
        let app =
            Router::new().route("/", routing::get(list)).layer(inner.token_source(in_cookie())).layer(listing.clone());
        let mut request = get_as("/", &issuer.token(&["read:records:*"]));
        request.headers_mut().insert(COOKIE, format!("token={}", issuer.token(&["use:api:v2"])).parse().unwrap());
        let answer = send(&app, request).await;
        assert_eq!(answer.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoGrantedIdentifiers)));
    }

    let nobody = Authenticate::optional(issuer.verifier()).token_source(in_cookie());
    let app = Router::new().route("/", routing::get(list)).layer(nobody).layer(listing);
    let answer = send(&app, get_as("/", &issuer.token(&["read:records:*"]))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn what_a_token_grants_stays_when_it_is_verified_again() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/", routing::get(list))
        .layer(RequireScope::new("use:api:v2").verifier(issuer.verifier()))
        .layer(RequireScope::some_of_kind("read:records").verifier(issuer.verifier()));
    let answer = send(&app, get_as("/", &issuer.token(&["read:records:P-7", "use:api:v2"]))).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &br#"Only(["P-7"])"#[..]));
}

/// Two authorities: what the one has granted opens nothing that stands under the other.
#[tokio::test]
async fn the_claims_are_those_of_the_nearest_layer_that_verifies() {
    let (ours, theirs) = (TestIssuer::new(), TestIssuer::with_seed([9; 32]));
    let in_cookie = || TokenSource::cookie("token");
    let who = async |who: Verified| who.token_id().to_string();
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
        let answer = ask(Some(&theirs.sign(&claims))).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, claims.jti.to_string().as_bytes()));
    }
}

/// axum puts a layer around what is there already. What comes later is open, unless its handler asks for the claims.
#[tokio::test]
async fn a_handler_that_wants_the_claims_notices_a_layer_that_came_too_early() {
    let issuer = TestIssuer::new();
    let handler = async |_: Verified| "inner";
    let by_route = Router::new().layer(Authenticate::new(issuer.verifier())).route("/", routing::get(handler));
    let early = routing::put(handler).layer(RequireScope::new("write:data:7").verifier(issuer.verifier()));
    for app in [by_route, Router::new().route("/", early.get(handler))] {
        let answer = send(&app, get_as("/", &issuer.token(&["write:data:7"]))).await;
        assert_eq!(answer.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoClaims)));
    }
}
