//! Successful logins are limited less than failed ones.

use agentwrit_e2e::{ADMIN_SECRET, Broker};
use serde_json::json;

#[tokio::test]
async fn serves_app_that_logs_in_for_each_run() {
    let broker = Broker::start().await;
    let app = broker.create_app(&broker.admin_token().await, "desk", &["read:data:*"]).await;
    for run in 0..10 {
        let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
        assert_eq!(broker.post("/v1/app/auth").json(&login).await.status, 200, "run {run}");
    }
    let mut refused = None;
    for _ in 0..200 {
        let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
        let answer = broker.post("/v1/app/auth").json(&login).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("successful logins are bounded too");
    refused.refused(429, "rate_limited", "too many attempts");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn serves_fifty_operator_logins_in_a_row() {
    let broker = Broker::start().await;
    for run in 0..50 {
        let answer = broker.post("/v1/admin/auth").json(&json!({"secret": ADMIN_SECRET})).await;
        assert_eq!(answer.status, 200, "run {run}");
    }
}

#[tokio::test]
async fn successful_logins_do_not_raise_limit_of_failed_ones() {
    let broker = Broker::start().await;
    let app = broker.create_app(&broker.admin_token().await, "desk", &["read:data:*"]).await;
    let mut statuses = Vec::new();
    for secret in [&app.client_secret, "wrong", &app.client_secret, "wrong", "wrong", "wrong", &app.client_secret] {
        let login = json!({"client_id": app.client_id, "client_secret": secret});
        statuses.push(broker.post("/v1/app/auth").json(&login).await.status);
    }
    assert_eq!(statuses, [200, 401, 200, 401, 401, 429, 429]);
}
