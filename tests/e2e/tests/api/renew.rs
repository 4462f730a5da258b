//! `POST /v1/token/renew`

use agentwrit_e2e::{Broker, Response, jti, next_second, pattern, payload, until_expired};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/token/renew";

fn renewed(ttl: u64) -> Value {
    json!({"access_token": "$jwt", "expires_in": ttl})
}

#[track_caller]
fn token_of(answer: &Response, ttl: u64) -> String {
    answer.expect(200, renewed(ttl))["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn renewed_token_differs_only_in_jti_and_times() {
    let broker = Broker::start_with(&[("AA_AUDIENCE", "https://api.example")]).await;
    let admin = broker.admin_token().await;
    let launch = json!({"allowed_scope": ["write:data:y", "read:data:*"], "max_ttl": 120});
    let agent = broker.enrol(&admin, "task-7", launch).await;
    let first = payload(&agent.token);

    let mut token = agent.token;
    for _ in 0..3 {
        token = token_of(&broker.renew(&token).await, 120);
        let claims = payload(&token);
        let mut expected = first.clone();
        expected["jti"] = json!("$hex(32)");
        expected["iat"] = claims["iat"].clone();
        expected["nbf"] = claims["iat"].clone();
        expected["exp"] = json!(claims["iat"].as_u64().unwrap() + 120);
        pattern::compare(&expected, &claims).unwrap();
        assert_eq!(claims["sid"], first["jti"], "the session is named after its first token");
        assert_ne!(claims["jti"], first["jti"]);
    }
    assert!(broker.accepts(&token).await);
}

#[tokio::test]
async fn rejects_renewed_token_at_once() {
    let broker = Broker::start().await;
    let (old, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    assert!(broker.accepts(&old).await);
    let new = broker.renewed(&old).await;
    assert!(!broker.accepts(&old).await);
    assert!(broker.accepts(&new).await);
    broker.renew(&old).await.refused(401, "unauthorized", "token renewal failed");
    assert!(broker.accepts(&new).await, "a failed attempt has no effect");
}

#[tokio::test]
async fn old_and_new_token_keep_their_status_across_crash() {
    let broker = Broker::start().await;
    let (old, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    let new = broker.renewed(&old).await;
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    assert!(!broker.accepts(&old).await);
    let newest = broker.renewed(&new).await;
    assert_eq!(payload(&newest)["sid"], payload(&old)["jti"]);
}

#[tokio::test]
async fn ignores_request_body() {
    let broker = Broker::start().await;
    let (mut token, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    for body in ["", "{}", "not json", "{\"a\":1,\"a\":2}"] {
        token = token_of(&broker.post(PATH).bearer(&token).body(body).await, 300);
    }
}

#[tokio::test]
async fn answers_every_ended_token_alike() {
    let (broker, other) = tokio::join!(Broker::start(), Broker::start());
    let admin = broker.admin_token().await;
    let (token, _) = broker.agent(&admin, &["read:data:x"]).await;
    let (foreign, _) = other.agent(&other.admin_token().await, &["read:data:x"]).await;
    let (released, _) = broker.agent(&admin, &["read:data:x"]).await;
    assert_eq!(broker.release(&released).await.status, 204);
    let (revoked, _) = broker.agent(&admin, &["read:data:x"]).await;
    assert_eq!(broker.revoked(&admin, "token", &jti(&revoked)).await, 1);
    let expired = broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:x"], "max_ttl": 1})).await.token;
    until_expired(&expired).await;

    let mut answers = Vec::new();
    for dead in ["nonsense".to_owned(), format!("{token}x"), foreign, released, revoked, expired] {
        let answer = broker.renew(&dead).await;
        answer.refused(401, "unauthorized", "token renewal failed");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="agentwrit", error="invalid_token""#));
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        answers.push(body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
    let answer = broker.post(PATH).await;
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="agentwrit""#));
}

#[tokio::test]
async fn renews_tokens_of_apps_and_rejects_operators() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let token = broker.app_token(&app).await;
    let renewed = token_of(&broker.renew(&token).await, 1800);
    assert_eq!(payload(&renewed)["scope"], payload(&token)["scope"]);

    broker.renew(&admin).await.problem(403, "insufficient_scope");
    assert!(broker.accepts(&admin).await, "the refusal consumed nothing");
}

#[tokio::test]
async fn applies_current_ceiling_of_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*", "write:data:*"]).await;
    let launch = json!({"allowed_scope": ["read:data:x", "write:data:x"]});
    let agent = broker.enrol(&broker.app_token(&app).await, "task-1", launch).await;
    let path = format!("/v1/admin/apps/{}", app.app_id);

    let narrow = json!({"scopes": ["read:data:*"]});
    assert_eq!(broker.request(Method::PUT, &path).bearer(&admin).json(&narrow).await.status, 200);
    let answer = broker.renew(&agent.token).await;
    answer.refused(403, "scope_violation", "requested scopes exceed app ceiling");
    assert_eq!(answer.header("www-authenticate"), None);
    assert!(broker.accepts(&agent.token).await, "it lives until it expires");

    let wide = json!({"scopes": ["read:data:*", "write:data:*"]});
    assert_eq!(broker.request(Method::PUT, &path).bearer(&admin).json(&wide).await.status, 200);
    let token = token_of(&broker.renew(&agent.token).await, 300);

    assert_eq!(broker.request(Method::DELETE, &path).bearer(&admin).await.status, 200);
    broker.renew(&token).await.problem(403, "scope_violation");
    assert!(broker.accepts(&token).await, "agents of a deregistered app keep what they have");
}

#[tokio::test]
async fn session_ends_at_max_ttl_of_operator() {
    let broker = Broker::start_with(&[("AA_MAX_TTL", "30")]).await;
    let (token, _) = broker.agent(&broker.admin_token().await, &["read:data:x"]).await;
    let end = payload(&token)["exp"].as_u64().unwrap();
    next_second().await;
    let answer = broker.renew(&token).await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let claims = payload(&token);
    assert_eq!(claims["exp"], end, "the session began {} s before its end", 30);
    assert_eq!(answer.json()["expires_in"], end - claims["iat"].as_u64().unwrap());
    let again = payload(&broker.renewed(&token).await);
    assert_eq!(again["exp"], end);
}

#[tokio::test]
async fn records_renewal_with_both_token_ids() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (old, id) = broker.agent(&admin, &["read:data:x"]).await;
    let new = broker.renewed(&old).await;
    broker.renew(&old).await.problem(401, "unauthorized");

    let events = broker.events(&admin, "event_type=token_renewed").await;
    assert_eq!(events.len(), 1);
    let detail = format!("jti={} replaces={} ", jti(&new), jti(&old));
    assert!(events[0]["detail"].as_str().unwrap().contains(&detail), "{}", events[0]);
    let named = (&events[0]["agent_id"], &events[0]["task_id"], &events[0]["orch_id"], &events[0]["outcome"]);
    assert_eq!(named, (&json!(id), &json!("task-1"), &json!("orch-1"), &json!("success")));
    let used = broker.events(&admin, "event_type=token_revoked_access").await;
    assert_eq!((used.len(), &used[0]["agent_id"]), (1, &json!(id)));
}
