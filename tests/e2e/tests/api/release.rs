//! `POST /v1/token/release`

use agentwrit_e2e::{Broker, jti, until_expired};
use serde_json::json;

const PATH: &str = "/v1/token/release";

#[tokio::test]
async fn rejects_released_token_at_once() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (token, _) = broker.agent(&admin, &["read:data:x"]).await;
    let answer = broker.release(&token).await;
    assert_eq!((answer.status, answer.body.len(), answer.header("content-type")), (204, 0, None));
    assert!(!broker.accepts(&token).await);

    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    for token in [broker.app_token(&app).await, broker.admin_token().await] {
        assert_eq!(broker.release(&token).await.status, 204, "any holder may release its token");
        assert!(!broker.accepts(&token).await);
    }
    assert!(broker.accepts(&admin).await, "the operator's other token is another one");
}

#[tokio::test]
async fn second_release_succeeds_without_effect() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (released, _) = broker.agent(&admin, &["read:data:x"]).await;
    let (revoked, _) = broker.agent(&admin, &["read:data:x"]).await;
    let (renewed, _) = broker.agent(&admin, &["read:data:x"]).await;
    assert_eq!(broker.release(&released).await.status, 204);
    assert_eq!(broker.revoked(&admin, "token", &jti(&revoked)).await, 1);
    let successor = broker.renewed(&renewed).await;
    let rows = broker.stored_rows();
    for token in [&released, &released, &revoked, &renewed] {
        let answer = broker.release(token).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
    assert_eq!(broker.stored_rows(), rows, "nothing more to do");
    assert!(broker.accepts(&successor).await, "the old name of a session does not end it");
}

#[tokio::test]
async fn rejects_foreign_token_with_401() {
    let (broker, other) = tokio::join!(Broker::start(), Broker::start());
    let admin = broker.admin_token().await;
    let (token, _) = broker.agent(&admin, &["read:data:x"]).await;
    let (foreign, _) = other.agent(&other.admin_token().await, &["read:data:x"]).await;
    let expired = broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:x"], "max_ttl": 1})).await.token;
    until_expired(&expired).await;
    for wrong in ["nonsense".to_owned(), format!("{token}x"), foreign, expired] {
        let answer = broker.release(&wrong).await;
        answer.refused(401, "unauthorized", "token verification failed");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="agentwrit", error="invalid_token""#));
    }
    let answer = broker.post(PATH).await;
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="agentwrit""#));
    assert!(broker.accepts(&token).await);
}

#[tokio::test]
async fn ends_only_released_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = || json!({"allowed_scope": ["read:data:*"]});
    let [delegator, delegate] = [broker.enrol(&admin, "t", launch()).await, broker.enrol(&admin, "t", launch()).await];
    let delegated = broker.delegated(&delegator.token, &delegate, &["read:data:x"]).await;
    assert_eq!(broker.release(&delegator.token).await.status, 204);
    assert!(broker.accepts(&delegated).await, "what was delegated lives on until its own expiry");
    assert!(broker.accepts(&delegate.token).await);

    assert_eq!(broker.release(&delegated).await.status, 204);
    assert!(!broker.accepts(&delegated).await);
    assert!(broker.accepts(&delegate.token).await, "the delegate's own token is another one");
}

#[tokio::test]
async fn release_survives_crash_and_is_recorded() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (token, id) = broker.agent(&admin, &["read:data:x"]).await;
    assert_eq!(broker.release(&token).await.status, 204);
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    assert!(!broker.accepts(&token).await);
    let events = broker.events(&admin, "event_type=token_released").await;
    assert_eq!((events.len(), &events[0]["agent_id"], &events[0]["outcome"]), (1, &json!(id), &json!("success")));
    assert!(events[0]["detail"].as_str().unwrap().contains(&format!("jti={}", jti(&token))), "{}", events[0]);
}
