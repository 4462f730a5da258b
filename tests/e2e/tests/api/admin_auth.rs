//! `POST /v1/admin/auth`

use agentwrit_e2e::{ADMIN_SECRET, Broker, payload, protected_header};
use serde_json::json;

const PATH: &str = "/v1/admin/auth";

#[tokio::test]
async fn issues_token_for_right_secret() {
    let broker = Broker::start().await;
    let answer = broker.post(PATH).json(&json!({"secret": ADMIN_SECRET})).await;
    let body = answer.expect(200, json!({"access_token": "$jwt", "expires_in": 300, "token_type": "Bearer"}));

    let token = body["access_token"].as_str().unwrap();
    let claims = payload(token);
    let issued_at = claims["iat"].as_u64().unwrap();
    let expected = json!({
        "iss": "https://agentwrit.local", "sub": "admin", "exp": issued_at + 300, "nbf": issued_at, "iat": "$uint",
        "jti": "$hex(32)", "sid": claims["jti"],
        "scope": ["admin:launch-tokens:*", "admin:revoke:*", "admin:audit:*", "admin:keys:*", "admin:verifiers:*",
            "admin:agents:*", "admin:trust-rules:*"],
    });
    agentwrit_e2e::pattern::compare(&expected, &claims).unwrap();
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "$sentence"});
    agentwrit_e2e::pattern::compare(&header, &protected_header(token)).unwrap();
}

#[tokio::test]
async fn lifetime_is_configurable() {
    let broker = Broker::start_with(&[("AA_ADMIN_TOKEN_TTL", "77")]).await;
    let answer = broker.post(PATH).json(&json!({"secret": ADMIN_SECRET})).await;
    answer.expect(200, json!({"access_token": "$jwt", "expires_in": 77, "token_type": "Bearer"}));
}

#[tokio::test]
async fn rejects_wrong_secret_with_401() {
    let broker = Broker::start().await;
    for secret in
        ["wrong", "correct-horse-battery-stapl", "correct-horse-battery-staple ", "Correct-horse-battery-staple"]
    {
        let answer = broker.post(PATH).json(&json!({"secret": secret})).await;
        answer.refused(401, "unauthorized", "invalid credentials");
        assert_eq!(answer.header("www-authenticate"), None, "this endpoint takes no Bearer token");
    }
}

#[tokio::test]
async fn rejects_missing_or_malformed_secret_with_400() {
    let broker = Broker::start().await;
    for body in [
        json!({}),
        json!({"secret": null}),
        json!({"secret": ""}),
        json!({"secret": 7}),
        json!({"secret": [ADMIN_SECRET]}),
        json!({"secret": {"is": ADMIN_SECRET}}),
        json!({"secret": "x".repeat(5000)}),
    ] {
        broker.post(PATH).json(&body).await.refused_for(400, "invalid_request", "secret");
    }
}

#[tokio::test]
async fn names_app_auth_when_client_credentials_are_sent() {
    let broker = Broker::start().await;
    let answer = broker.post(PATH).json(&json!({"client_id": "admin", "client_secret": ADMIN_SECRET})).await;
    let (_, hint) = answer.problem(400, "invalid_request");
    assert!(hint.expect("a hint").contains("\"secret\""));
}

#[tokio::test]
async fn limits_attempts_per_address() {
    let broker = Broker::start().await;
    let mut refused = None;
    for attempt in 0..200 {
        let answer = broker.post(PATH).json(&json!({"secret": "wrong"})).await;
        if answer.status == 429 {
            refused = Some((attempt, answer));
            break;
        }
        answer.refused(401, "unauthorized", "invalid credentials");
    }
    let (attempt, answer) = refused.expect("a burst of 10 and 5 per second end somewhere");
    assert!(attempt >= 10, "the first 10 pass, this was attempt {attempt}");
    answer.problem(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn accepts_secret_configured_as_bcrypt_hash() {
    // Of ADMIN_SECRET, cost 4.
    let hash = "$2b$04$R3rAiYSL.6P.pbQmicrp/OMwH2i3J5VnL6Oz6NeMfnY1AQQNncGQu";
    let broker = Broker::start_with(&[("AA_ADMIN_SECRET", hash)]).await;
    broker.admin_token().await;
    let answer = broker.post(PATH).json(&json!({"secret": hash})).await;
    answer.refused(401, "unauthorized", "invalid credentials");
}
