//! Responses to readiness probes.

use std::time::Duration;

use agentwrit_tower::Readiness;
use agentwrit_tower::verify::feed::Staleness;
use agentwrit_tower::verify::testing::{TestFollower, TestIssuer};
use agentwrit_tower::verify::{TrustedKeys, Verifier, VerifyError};
use axum::Router;
use http::StatusCode;

use crate::support::axum::get_without_token;
use crate::support::send;

async fn probe(verifier: Verifier) -> (StatusCode, Option<String>, String) {
    let app = Router::new().route_service("/ready", Readiness::new(verifier));
    let response = send(&app, get_without_token("/ready")).await;
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let body = String::from_utf8(response.body.to_vec()).unwrap();
    (response.status, response.header("retry-after").map(str::to_owned), body)
}

#[tokio::test]
async fn is_200_while_tokens_can_be_verified() {
    let issuer = TestIssuer::new();
    assert_eq!(probe(issuer.verifier()).await, (StatusCode::OK, None, r#"{"ready":true}"#.to_owned()));
    assert_eq!(Readiness::new(issuer.verifier()).check(), Ok(()));
}

#[tokio::test]
async fn is_503_before_first_keys_and_with_stale_revocations() {
    let unready = |reason| {
        let body = format!(r#"{{"ready":false,"reason":"{reason}"}}"#);
        (StatusCode::SERVICE_UNAVAILABLE, Some("5".to_owned()), body)
    };
    let keyless = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let keyless = keyless.without_revocations().build();
    assert_eq!(Readiness::new(keyless.clone()).check(), Err(VerifyError::KeysUnavailable));
    assert_eq!(probe(keyless).await, unready("keys_unavailable"));

    let issuer = TestIssuer::new();
    let mut follower = TestFollower::of(&issuer, Staleness::default());
    follower.poll(&issuer).unwrap();
    assert_eq!(probe(follower.verifier().clone()).await.0, StatusCode::OK);
    issuer.clock().advance(Duration::from_secs(60));
    assert_eq!(probe(follower.verifier().clone()).await, unready("stale_revocations"));
}
