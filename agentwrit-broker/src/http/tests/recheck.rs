//! Requests whose token is no longer valid when their response is ready.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::Poll,
};

use agentwrit_protocol::{RevocationRequest, RevocationTarget};
use agentwrit_tower::RequireScope;
use agentwrit_verify::{Level, Subject};
use axum::{Router, body::Body, middleware, routing::get};
use futures_util::poll;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::json;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::openapi::walk::Walk;
use crate::{
    http::{Edge, recheck::recheck, router},
    service::{
        Services,
        keys::{ChangeAuthor, KeyOperation},
    },
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Change while the handler works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    Withdrawal,
    Revocation,
}

async fn withdraw_active_key(services: &Services) {
    let kid = services.issuer.ring().active.id().as_str().to_owned();
    let author = ChangeAuthor { by: Subject::Admin, bearer: None, client: None, reason: None };
    services.keys.change(KeyOperation::Withdraw { kid }, author).await.unwrap();
}

/// Sends a request to a handler that works until `meanwhile` has happened.
async fn send(method: Method, meanwhile: Meanwhile) -> Response<Body> {
    let walk = Walk::start().await;
    let services = &walk.services;
    let token = services.logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        move || async move {
            begun.notify_one();
            release.notified().await;
            "the trail"
        }
    };
    let router = Router::new()
        .route("/", get(handler.clone()).post(handler))
        .route_layer(middleware::from_fn_with_state(Arc::clone(services), recheck))
        .route_layer(RequireScope::new("admin:audit:*").verifier(services.verifier.clone()));
    let request = Request::builder().method(method).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let sending = tokio::spawn(router.oneshot(request.body(Body::empty()).unwrap()));
    begun.notified().await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Withdrawal => withdraw_active_key(services).await,
        Meanwhile::Revocation => {
            let text = services.verifier.verify(&token).unwrap().token_id().to_string();
            let target = RevocationTarget::parse(Level::Token, &text);
            let request =
                RevocationRequest { level: Level::Token, target, text, reason: None, wait: None, dry_run: false };
            services.revocations.revoke(Subject::Admin, None, request, CLIENT).await.unwrap();
        }
    }
    release.notify_one();
    sending.await.unwrap().unwrap()
}

#[tokio::test]
async fn rejects_read_whose_token_ended_before_its_response() {
    for meanwhile in [Meanwhile::Withdrawal, Meanwhile::Revocation] {
        let response = send(Method::GET, meanwhile).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{meanwhile:?}");
        let challenge = response.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
    }
    assert_eq!(send(Method::GET, Meanwhile::Nothing).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn confirmation_is_withheld_when_key_of_token_was_withdrawn_while_it_was_waited_for() {
    let walk = Walk::start().await;
    let services = &walk.services;
    let token = services.logins.issue_admin_token(CLIENT).await.unwrap().access_token;
    let revocation = json!({"level": "task", "target": "t-1"}).to_string().into_bytes();
    let cursor = walk.send("POST", "/v1/revoke", Some(&token), Some(revocation)).await.text("cursor");
    let path = format!("/v1/revocations/{cursor}/confirmation");
    let send = || {
        let request = Request::get(&path).header(header::HOST, "broker.test");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap();
        Box::pin(router(Arc::clone(services), Edge::for_tests(services)).oneshot(request))
    };
    // The first poll judges the token. The store may respond within it, but not each time.
    let mut response = loop {
        let mut response = send();
        match poll!(&mut response) {
            Poll::Pending => break response,
            Poll::Ready(ready) => assert_eq!(ready.unwrap().status(), StatusCode::OK),
        }
    };
    withdraw_active_key(services).await;
    assert_eq!((&mut response).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn response_to_change_is_sent_although_change_ended_bearer_token() {
    assert_eq!(send(Method::POST, Meanwhile::Withdrawal).await.status(), StatusCode::OK);
}
