//! A delegation's `ttl` beyond what the delegator has left is shortened.

use agentwrit_e2e::{Broker, payload};
use serde_json::{Value, json};

#[tokio::test]
async fn clamps_ttl_beyond_remaining_lifetime_and_rejects_less_than_one_second() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let delegator = broker.enrol(&admin, "one", json!({"allowed_scope": ["read:data:x"]})).await;
    let delegate = broker.enrol(&admin, "two", json!({"allowed_scope": ["read:data:x"]})).await;
    let ask = |ttl: &Value| {
        let body = json!({"delegate_to": delegate.id, "scope": ["read:data:x"], "ttl": ttl});
        broker.post("/v1/delegate").bearer(&delegator.token).json(&body)
    };
    for ttl in [json!(86_401), json!(1_000_000_000), json!(u64::MAX), json!(1e30)] {
        let answer = ask(&ttl).await;
        assert_eq!(answer.status, 200, "{ttl}: {}", answer.json());
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(payload(&token)["exp"], payload(&delegator.token)["exp"], "{ttl}");
    }
    for ttl in [json!(0), json!(-1), json!(i64::MIN), json!(-1e30)] {
        ask(&ttl).await.refused(400, "invalid_ttl", "ttl: must be at least 1 second");
    }
    ask(&json!(1.5)).await.refused(400, "invalid_request", "ttl: must be a whole number of seconds");
    ask(&json!("60")).await.refused(400, "invalid_request", "ttl: must be a whole number of seconds");
}
