//! `POST /v1/token/validate`

use agentwrit_e2e::{Broker, Field, payload};
use serde_json::{Value, json};

const PATH: &str = "/v1/token/validate";

fn invalid() -> Value {
    json!({"valid": false, "error": "token is invalid or expired"})
}

#[tokio::test]
async fn returns_claims_of_valid_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    for token in [agent, admin.clone(), broker.app_token(&app).await] {
        let claims = payload(&token);
        broker.post(PATH).json(&json!({"token": token})).await.expect(200, json!({"valid": true, "claims": claims}));
    }
}

#[tokio::test]
async fn answers_200_without_reason_for_invalid_token() {
    let (broker, other) = tokio::join!(Broker::start(), Broker::start());
    let (token, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    let (foreign, _) = other.agent(&other.admin_token().await, &["read:data:x"]).await;
    let mut parts: Vec<&str> = token.split('.').collect();
    let (header, signature) = (parts[0], parts[2]);
    parts[1] = foreign.split('.').nth(1).unwrap();
    for wrong in [
        "nonsense".to_owned(),
        "..".to_owned(),
        format!("{token}x"),
        format!(" {token}"),
        token.strip_suffix(|_: char| true).unwrap().to_owned(),
        parts.join("."),
        format!("{header}.{signature}"),
        foreign.clone(),
        format!("Bearer {token}"),
        "x".repeat(9000),
    ] {
        broker.post(PATH).json(&json!({"token": wrong})).await.expect(200, invalid());
    }
}

#[tokio::test]
async fn rejects_malformed_request_with_400() {
    let broker = Broker::start().await;
    let too_long_is_merely_invalid = |body: &Value| body["token"].as_str().is_some_and(|token| token.len() == 5000);
    for broken in Field::Text("token").broken(&json!({"token": "x"})) {
        if !too_long_is_merely_invalid(&broken.body) {
            broker.post(PATH).json(&broken.body).await.refused_for(400, "invalid_request", "token");
        }
    }
}

#[tokio::test]
async fn writes_no_audit_event() {
    let broker = Broker::start().await;
    let (token, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    let (rows, events) = (broker.stored_rows(), broker.audit_events().await);
    for token in [token.as_str(), "nonsense"] {
        assert_eq!(broker.post(PATH).json(&json!({"token": token})).await.status, 200);
    }
    assert_eq!((broker.stored_rows(), broker.audit_events().await), (rows, events));
}

#[tokio::test]
async fn tokens_stay_valid_across_restart() {
    let broker = Broker::start().await;
    let (token, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    let (stopped, directory) = broker.terminate().await;
    assert!(stopped.status.success(), "{}", stopped.output);
    let broker = Broker::start_in(directory, &[]).await;
    let answer = broker.post(PATH).json(&json!({"token": token})).await;
    answer.expect(200, json!({"valid": true, "claims": payload(&token)}));
}
