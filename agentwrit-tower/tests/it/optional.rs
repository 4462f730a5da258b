//! `Authenticate::optional`: requests without a token pass without claims, requests with an invalid one do not.

use agentwrit_tower::verify::VerifyError;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, CredentialsError, Rejection, RequireScope, TokenSource, Verified};
use axum::Router;
use axum::routing::get;
use http::StatusCode;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{INVALID_TOKEN, NO_TOKEN, send};

async fn greet(caller: Option<Verified>) -> String {
    caller.map_or_else(|| "unauthenticated".to_owned(), |caller| caller.subject().to_string())
}

async fn strict(caller: Verified) -> String {
    caller.subject().to_string()
}

fn app(issuer: &TestIssuer) -> Router {
    Router::new()
        .route("/", get(greet))
        .route("/strict", get(strict))
        .route("/data", get(greet).layer(RequireScope::new("read:data:7")))
        .layer(Authenticate::optional(issuer.verifier()))
}

#[tokio::test]
async fn passes_request_without_token_without_claims() {
    let response = send(&app(&TestIssuer::new()), get_without_token("/")).await;
    assert_eq!((response.status, &*response.body), (StatusCode::OK, &b"unauthenticated"[..]));
}

#[tokio::test]
async fn passes_valid_token_with_claims() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:7"]);
    for path in ["/", "/strict", "/data"] {
        let response = send(&app(&issuer), get_as(path, &issuer.sign(&claims))).await;
        assert_eq!((response.status, &*response.body), (StatusCode::OK, claims.sub.to_string().as_bytes()), "{path}");
    }
}

#[tokio::test]
async fn invalid_token_is_401() {
    let issuer = TestIssuer::new();
    for path in ["/", "/strict", "/data"] {
        let response = send(&app(&issuer), get_as(path, "a.b.c")).await;
        assert_eq!(
            (response.status, response.header("www-authenticate")),
            (StatusCode::UNAUTHORIZED, Some(INVALID_TOKEN))
        );
    }
    let mut malformed = get_without_token("/");
    malformed.headers_mut().insert("authorization", "Basic eDp5".parse().unwrap());
    let response = send(&app(&issuer), malformed).await;
    assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Malformed)));
}

#[tokio::test]
async fn malformed_token_never_counts_as_unauthenticated() {
    let issuer = TestIssuer::new();
    let layer = Authenticate::optional(issuer.verifier())
        .token_sources([TokenSource::authorization(), TokenSource::cookie("token")]);
    let app = Router::new().route("/", get(greet)).layer(layer);
    let token = issuer.token(&["read:data:7"]);
    for headers in [
        vec![("authorization", String::new())],
        vec![("authorization", "Bearer".to_owned())],
        vec![("authorization", format!("Bearer {token}, Bearer {token}"))],
        vec![("authorization", format!("Bearer {token}")), ("authorization", format!("Bearer {token}"))],
        vec![("authorization", format!("DPoP {token}"))],
        vec![("cookie", "token=".to_owned())],
        vec![("cookie", format!("token=\"{token}\""))],
        vec![("cookie", format!("token={token}; token={token}"))],
        vec![("cookie", format!("token={token}")), ("authorization", format!("Bearer {token}"))],
    ] {
        let mut request = get_without_token("/");
        for (name, value) in &headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        assert!(send(&app, request).await.status.is_client_error(), "{headers:?}");
    }
}

#[tokio::test]
async fn extractor_of_required_claims_is_401_beneath_optional() {
    for path in ["/strict", "/data"] {
        let response = send(&app(&TestIssuer::new()), get_without_token(path)).await;
        assert_eq!((response.status, response.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(NO_TOKEN)));
        assert_eq!(response.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Missing)), "{path}");
    }
}

#[tokio::test]
async fn removes_claims_of_outer_layer_without_token() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/", get(greet))
        .layer(Authenticate::optional(issuer.verifier()).token_source(TokenSource::cookie("token")))
        .layer(Authenticate::new(issuer.verifier()));
    let response = send(&app, get_as("/", &issuer.token(&["read:data:7"]))).await;
    assert_eq!((response.status, &*response.body), (StatusCode::OK, &b"unauthenticated"[..]));
}

#[tokio::test]
async fn required_layer_beneath_rejects_missing_token() {
    let issuer = TestIssuer::new();
    let demanding = issuer.verifier_builder().audience("https://here.test").build();
    let app = Router::new()
        .route("/", get(greet))
        .layer(Authenticate::new(demanding))
        .layer(Authenticate::optional(issuer.verifier()));
    assert_eq!(send(&app, get_without_token("/")).await.status, StatusCode::UNAUTHORIZED);
    let response = send(&app, get_as("/", &issuer.token(&["read:data:7"]))).await;
    assert_eq!(response.extensions.get(), Some(&Rejection::InvalidToken(VerifyError::WrongAudience)));
}
