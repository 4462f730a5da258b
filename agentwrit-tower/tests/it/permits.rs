//! Checks within a handler: a `Permit`, or the rejection of a layer.

use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{Permit, scope};
use agentwrit_tower::{Authenticate, Misconfiguration, Permits, Rejection, RejectionResponse};
use axum::Router;
use axum::routing::post;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::axum::get as get_as;
use crate::support::{CollectedResponse, send};

fn write_note(permit: &Permit) -> String {
    format!("{} by {}", permit.scope(), permit.token_id())
}

async fn handler(permits: Permits) -> Result<String, RejectionResponse> {
    Ok(write_note(&permits.permit(&scope!("write:notes:P-7"))?))
}

async fn ask(app: &Router, token: &str) -> CollectedResponse {
    let mut request = get_as("/notes", token);
    *request.method_mut() = Method::POST;
    send(app, request).await
}

#[tokio::test]
async fn returns_permit_when_token_holds_scope() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/notes", post(handler)).layer(Authenticate::new(issuer.verifier()));
    let claims = issuer.claims(&["write:notes:*"]);
    let response = ask(&app, &issuer.sign(&claims)).await;
    let expected = format!("write:notes:P-7 by {}", claims.jti);
    assert_eq!((response.status, std::str::from_utf8(&response.body).unwrap()), (StatusCode::OK, &*expected));
}

#[tokio::test]
async fn rejects_like_layer_when_token_lacks_scope() {
    let issuer = TestIssuer::new();
    let app = Router::new().route("/notes", post(handler)).layer(Authenticate::new(issuer.verifier()));
    let response = ask(&app, &issuer.token(&["write:notes:P-8"])).await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(
        response.header("www-authenticate"),
        Some(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="write:notes:P-7""#)
    );
    assert_eq!(
        response.json(),
        json!({
            "type": "urn:agentwrit:error:insufficient_scope",
            "title": "Forbidden",
            "status": 403,
            "detail": "the token lacks the required scope `write:notes:P-7`",
            "instance": "/notes",
            "error_code": "insufficient_scope",
            "request_id": "req-1",
            "hint": "use a token that was granted the scope which the challenge names",
        })
    );
    assert!(matches!(response.extensions.get(), Some(Rejection::InsufficientScope { .. })));
}

#[tokio::test]
async fn claims_without_layer_are_500() {
    let response = ask(&Router::new().route("/notes", post(handler)), "a.b.c").await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.extensions.get(), Some(&Rejection::Misconfigured(Misconfiguration::NoClaims)));
}
