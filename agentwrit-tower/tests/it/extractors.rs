//! `Verified` and `Option<Verified>` as arguments of handlers.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::{Authenticate, Misconfiguration, Refusal, Verified};
use axum::Router;
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use crate::support::axum::{get as get_as, get_without_token};
use crate::support::send;

async fn whoami(who: Verified) -> String {
    format!("{} {}", who.subject(), who.token_id())
}

async fn maybe(who: Option<Verified>) -> String {
    who.map_or_else(|| "nobody".to_owned(), |who| who.subject().to_string())
}

#[tokio::test]
async fn a_handler_gets_the_claims() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/me", get(whoami)).layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let answer = send(&app, get_as("/me", &issuer.sign(&claims))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(std::str::from_utf8(&answer.body).unwrap(), format!("{} {}", claims.sub, claims.jti));
}

#[tokio::test]
async fn without_a_layer_it_is_500() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/me", get(whoami));
    let answer = send(&app, get_as("/me", &issuer.token(&["read:data:7"]))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        answer.json(),
        json!({
            "type": "urn:agentwrit:error:internal_error",
            "title": "Internal Server Error",
            "status": 500,
            "detail": "the server made a mistake",
            "instance": "/me",
            "error_code": "internal_error",
            "request_id": "req-1",
        })
    );
    assert_eq!(answer.extensions.get(), Some(&Refusal::Misconfigured(Misconfiguration::NoClaims)));
}

#[tokio::test]
async fn an_optional_one_is_none_without_a_layer_and_the_claims_with_one() {
    let issuer = TestIssuer::new();
    let open = Router::new().route("/", get(maybe));
    assert_eq!(&*send(&open, get_without_token("/")).await.body, b"nobody");

    let closed = open.layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["read:data:7"]);
    let answer = send(&closed, get_as("/", &issuer.sign(&claims))).await;
    assert_eq!(std::str::from_utf8(&answer.body).unwrap(), claims.sub.to_string());
    assert_eq!(send(&closed, get_without_token("/")).await.status, StatusCode::UNAUTHORIZED);
}
