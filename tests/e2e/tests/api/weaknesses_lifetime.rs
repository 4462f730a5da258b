//! Lifetime that was never granted (issue 3, "exact weaknesses"). Exact moments: `service::tests` of the broker, where
//! the clock stands still.

use agentwrit_e2e::{Agent, Broker, next_second, payload, until_second};
use serde_json::json;

fn expiry(token: &str) -> u64 {
    payload(token)["exp"].as_u64().unwrap()
}

async fn enrol(broker: &Broker, admin: &str, ttl: u64) -> Agent {
    broker.enrol(admin, "task-1", json!({"allowed_scope": ["read:data:*"], "max_ttl": ttl})).await
}

#[tokio::test]
async fn renewal_of_delegated_token_ends_with_delegator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (short, long) = (enrol(&broker, &admin, 12).await, enrol(&broker, &admin, 300).await);
    let end = expiry(&short.token);
    let handed = broker.delegated(&short.token, &long, &["read:data:x"]).await;
    let onward = broker.delegated(&handed, &short, &["read:data:x"]).await;
    // A renewal by the delegator does not extend the chain.
    let prolonged = broker.renewed(&short.token).await;
    let mut tokens = [handed, onward];
    for _ in 0..2 {
        next_second().await;
        for token in &mut tokens {
            *token = broker.renewed(token).await;
            assert!(expiry(token) <= end, "{} after {end}", expiry(token) - end);
        }
    }
    assert!(expiry(&prolonged) >= end);
    until_second(end).await;
    for token in &tokens {
        assert!(!broker.accepts(token).await);
        broker.renew(token).await.refused(401, "unauthorized", "token renewal failed");
    }
}

#[tokio::test]
async fn self_delegation_does_not_extend_lifetime() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, 60).await;
    let end = expiry(&agent.token);
    next_second().await;
    let mut token = agent.token.clone();
    for _ in 0..5 {
        token = broker.delegated(&token, &agent, &["read:data:*"]).await;
        token = broker.renewed(&token).await;
        assert!(expiry(&token) <= end);
    }
}

#[tokio::test]
async fn self_delegated_token_ends_with_revocation() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, 60).await;
    let itself = broker.delegated(&agent.token, &agent, &["read:data:*"]).await;
    let again = broker.renewed(&broker.delegated(&itself, &agent, &["read:data:*"]).await).await;
    let session = payload(&agent.token)["jti"].as_str().unwrap().to_owned();
    assert_eq!(broker.revoked(&admin, "token", &session).await, 3);
    for token in [&agent.token, &itself, &again] {
        assert!(!broker.accepts(token).await);
    }
}
