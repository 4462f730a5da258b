//! `Authenticate::optional`: no token passes without claims, a bad one does not.

use agentwrit_tower::verify::VerifyError;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, CredentialsError, Rejection, RequireScope, TokenSource, Verified};
use axum::Router;
use axum::routing::get;
use http::StatusCode;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::{INVALID_TOKEN, NO_TOKEN, send};

async fn greet(who: Option<Verified>) -> String {
    who.map_or_else(|| "nobody".to_owned(), |who| who.subject().to_string())
}

async fn strict(who: Verified) -> String {
    who.subject().to_string()
}

fn app(issuer: &TestIssuer) -> Router {
    Router::new()
        .route("/", get(greet))
        .route("/strict", get(strict))
        .route("/data", get(greet).layer(RequireScope::new("read:data:7")))
        .layer(Authenticate::optional(issuer.verifier()))
}

#[tokio::test]
async fn no_token_passes_without_claims() {
    let answer = send(&app(&TestIssuer::new()), get_without_token("/")).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"nobody"[..]));
}

#[tokio::test]
async fn a_good_token_passes_with_them() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:7"]);
    for path in ["/", "/strict", "/data"] {
        let answer = send(&app(&issuer), get_as(path, &issuer.sign(&claims))).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, claims.sub.to_string().as_bytes()), "{path}");
    }
}

#[tokio::test]
async fn a_bad_token_is_401_all_the_same() {
    let issuer = TestIssuer::new();
    for path in ["/", "/strict", "/data"] {
        let answer = send(&app(&issuer), get_as(path, "a.b.c")).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(INVALID_TOKEN)));
    }
    let mut malformed = get_without_token("/");
    malformed.headers_mut().insert("authorization", "Basic eDp5".parse().unwrap());
    let answer = send(&app(&issuer), malformed).await;
    assert_eq!(answer.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Malformed)));
}

#[tokio::test]
async fn nothing_that_stands_in_a_tokens_place_makes_a_stranger_of_its_bearer() {
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
async fn whoever_must_be_known_is_401_beneath_it() {
    for path in ["/strict", "/data"] {
        let answer = send(&app(&TestIssuer::new()), get_without_token(path)).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, Some(NO_TOKEN)));
        assert_eq!(answer.extensions.get(), Some(&Rejection::NoToken(CredentialsError::Missing)), "{path}");
    }
}

#[tokio::test]
async fn it_does_not_take_over_the_claims_of_an_outer_layer() {
    let issuer = TestIssuer::new();
    let app = Router::new()
        .route("/", get(greet))
        .layer(Authenticate::optional(issuer.verifier()).token_source(TokenSource::cookie("token")))
        .layer(Authenticate::new(issuer.verifier()));
    let answer = send(&app, get_as("/", &issuer.token(&["read:data:7"]))).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &b"nobody"[..]));
}

#[tokio::test]
async fn a_required_layer_within_still_requires() {
    let issuer = TestIssuer::new();
    let demanding = issuer.verifier_builder().audience("https://here.test").build();
    let app = Router::new()
        .route("/", get(greet))
        .layer(Authenticate::new(demanding))
        .layer(Authenticate::optional(issuer.verifier()));
    assert_eq!(send(&app, get_without_token("/")).await.status, StatusCode::UNAUTHORIZED);
    let answer = send(&app, get_as("/", &issuer.token(&["read:data:7"]))).await;
    assert_eq!(answer.extensions.get(), Some(&Rejection::InvalidToken(VerifyError::WrongAudience)));
}
