//! Registrations that are refused: the reason is in the trail, and not in the response.

use std::time::{Duration, Instant};

use agentwrit_e2e::{Broker, Response};
use identity_provider::{Algorithm, Serves, SigningKey};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::issuer::{Issuer, SCOPE, details, now, refusals_after, register, register_with};

/// Checks that the response tells no reason.
#[track_caller]
fn check_refused(response: &Response, case: &str) {
    let mut body: Value = response.json();
    body["request_id"] = json!("");
    let expected = json!({
        "type": "urn:agentwrit:error:unauthorized", "title": "Unauthorized", "status": 401,
        "detail": "attestation failed", "instance": "/v1/register", "error_code": "unauthorized", "request_id": "",
    });
    assert_eq!(body, expected, "{case}");
}

#[tokio::test]
async fn reason_of_refusal_is_in_trail_and_not_in_response() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::Rs256);
    let other_key = SigningKey::generate(Algorithm::Rs256, "key-1");
    issuer.trusted_by(&broker, &admin).await;
    let used = issuer.token();
    assert_eq!(register(&broker, "oidc", &used).await.status, 200);
    let unsigned = |claims: &Value| {
        let token = issuer.key.token_with(&json!({"alg": "none", "typ": "JWT"}), claims);
        format!("{}.", token.rsplit_once('.').unwrap().0)
    };
    let with_header = |header: Value| issuer.key.token_with(&header, &issuer.claims());
    for (reason, token) in [
        ("assertion_used", used),
        ("audience_mismatch", issuer.token_with(&json!({"aud": "agentwrit/"}))),
        ("audience_mismatch", issuer.token_with(&json!({"aud": ["agent", "writ"]}))),
        ("unknown_issuer", issuer.token_with(&json!({"iss": format!("{}/", issuer.url())}))),
        ("claims_mismatch", issuer.token_with(&json!({"repository": "acme/api-evil"}))),
        ("claims_mismatch", issuer.token_with(&json!({"repository": "Acme/api"}))),
        ("claims_mismatch", issuer.token_with(&json!({"ref": "refs/tags/v1"}))),
        ("claims_mismatch", issuer.token_with(&json!({"ref": null}))),
        ("expired", issuer.token_with(&json!({"exp": now() - 120, "iat": now() - 300, "nbf": now() - 300}))),
        ("not_yet_valid", issuer.token_with(&json!({"nbf": now() + 240}))),
        ("expiry_missing", issuer.token_with(&json!({"exp": null}))),
        ("lifetime_too_long", issuer.token_with(&json!({"exp": now() + 2 * 86_400}))),
        ("template_claim_unusable", issuer.token_with(&json!({"run_id": null}))),
        ("bad_signature", other_key.token(&issuer.claims())),
        ("unknown_key", with_header(json!({"alg": "RS256", "typ": "JWT", "kid": "key-2"}))),
        ("wrong_algorithm", with_header(json!({"alg": "ES256", "typ": "JWT", "kid": "key-1"}))),
        ("unsupported_algorithm", with_header(json!({"alg": "HS256", "typ": "JWT", "kid": "key-1"}))),
        ("critical_header", with_header(json!({"alg": "RS256", "kid": "key-1", "crit": ["exp"], "exp": 1}))),
        ("unsupported_algorithm", unsigned(&issuer.claims())),
        ("malformed_token", "a.b.c".to_owned()),
    ] {
        let before = details(&broker, &admin, "attestation_failed").await.len();
        check_refused(&register(&broker, "oidc", &token).await, reason);
        let refusals = refusals_after(before, &broker, &admin).await;
        let detail = refusals.last().unwrap();
        assert!(detail.contains(&format!("reason={reason}")), "{reason}: {detail}");
        assert!(!detail.contains(&token), "{detail}");
    }
    let other_kind = register_with(&broker, "kubernetes", &issuer.token(), &json!({})).await;
    check_refused(&other_kind, "a rule is for its kind only");
    assert_eq!(issuer.provider.fetches(), 1, "an unknown key has its set fetched again after 30 s at the earliest");
}

#[tokio::test]
async fn assertion_is_used_up_by_success_only() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::EdDsa);
    issuer.trusted_by(&broker, &admin).await;
    let token = issuer.token();
    let wide = register_with(&broker, "oidc", &token, &json!({"requested_scope": ["write:records:*"]})).await;
    assert_eq!((wide.status, &wide.json()["error_code"]), (403, &json!("scope_violation")));
    let unsigned = register_with(&broker, "oidc", &token, &json!({"signature": "AA=="})).await;
    assert_eq!(unsigned.status, 401);
    assert_eq!(register(&broker, "oidc", &token).await.status, 200);
    check_refused(&register(&broker, "oidc", &token).await, "used");
}

#[tokio::test]
async fn removed_rule_and_suspended_app_attest_nothing() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::EdDsa);
    let rule = issuer.trusted_by(&broker, &admin).await;
    let apps = broker.get("/v1/admin/apps").bearer(&admin).await.json();
    let app = format!("/v1/admin/apps/{}", apps["apps"][0]["app_id"].as_str().unwrap());

    let suspended = broker.post(&format!("{app}/suspend")).bearer(&admin).await;
    assert_eq!(suspended.status, 200);
    let token = issuer.token();
    check_refused(&register(&broker, "oidc", &token).await, "suspended app");
    assert_eq!(broker.post(&format!("{app}/resume")).bearer(&admin).await.status, 200);
    assert_eq!(register(&broker, "oidc", &token).await.status, 200);

    let narrower = json!({"scopes": ["read:records:7"]});
    let change = broker.request(http::Method::PUT, &app).bearer(&admin).json(&narrower).await;
    assert_eq!(change.status, 200);
    let refused = register(&broker, "oidc", &issuer.token()).await;
    refused.refused(403, "scope_violation", "requested scopes exceed app ceiling");
    let broad = broker.request(http::Method::PUT, &app).bearer(&admin).json(&json!({"scopes": [SCOPE]})).await;
    assert_eq!(broad.status, 200);

    let path = format!("/v1/admin/trust-rules/{rule}");
    assert_eq!(broker.request(http::Method::DELETE, &path).bearer(&admin).await.status, 204);
    check_refused(&register(&broker, "oidc", &issuer.token()).await, "removed rule");
    let removed = details(&broker, &admin, "trust_rule_removed").await;
    assert_eq!(removed.len(), 1, "{removed:?}");
}

#[tokio::test]
async fn registration_waits_for_issuer_that_is_away_and_uses_nothing_up() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let issuer = Issuer::start(Algorithm::Es256);
    issuer.trusted_by(&broker, &admin).await;
    issuer.provider.serve(Serves::Status(503));
    let token = issuer.token();
    let refused = register(&broker, "oidc", &token).await;
    assert_eq!((refused.status, &refused.json()["error_code"]), (503, &json!("unavailable")));
    issuer.provider.publish([&issuer.key]);
    // The broker asks again after a while of its own.
    let begun = Instant::now();
    let registered = loop {
        let response = register(&broker, "oidc", &token).await;
        if response.status != 503 {
            break response;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the issuer is back");
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(registered.status, 200);
}
