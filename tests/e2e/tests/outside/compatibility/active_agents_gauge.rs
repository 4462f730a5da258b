//! C12: `agentwrit_active_agents` follows what ends an agent at once.

use agentwrit_e2e::{Broker, jti};
use serde_json::json;

async fn active(broker: &Broker) -> u64 {
    let text = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("agentwrit_active_agents ")).unwrap();
    value.parse().unwrap()
}

#[tokio::test]
async fn gauge_falls_at_once_after_revocation_release_suspension_and_deregistration() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = json!({"allowed_scope": ["read:data:x"], "max_ttl": 600});
    let app = broker.create_app(&admin, "desk", &["read:data:x"]).await;
    let app_token = broker.app_token(&app).await;
    let mut agents = Vec::new();
    for task in ["task-a", "task-b", "task-c", "task-d"] {
        agents.push(broker.enrol(&admin, task, launch.clone()).await);
    }
    for _ in 0..2 {
        broker.enrol(&app_token, "task-e", launch.clone()).await;
    }
    let suspended = |action: &str| format!("/v1/admin/apps/{}/{action}", app.app_id);
    assert_eq!(active(&broker).await, 6);
    broker.revoked(&admin, "agent", &agents[0].id).await;
    assert_eq!(active(&broker).await, 5, "an agent was revoked");
    broker.revoked(&admin, "token", &jti(&agents[1].token)).await;
    assert_eq!(active(&broker).await, 4, "its only session was revoked");
    broker.revoked(&admin, "task", "task-c").await;
    assert_eq!(active(&broker).await, 3, "its task was revoked");
    assert_eq!(broker.release(&agents[3].token).await.status, 204);
    assert_eq!(active(&broker).await, 2, "it released its token");
    assert_eq!(broker.post(&suspended("suspend")).bearer(&admin).await.status, 200);
    assert_eq!(active(&broker).await, 0, "its app is suspended");
    assert_eq!(broker.post(&suspended("resume")).bearer(&admin).await.status, 200);
    assert_eq!(active(&broker).await, 2, "its app is resumed");
    let path = format!("/v1/admin/apps/{}", app.app_id);
    assert_eq!(broker.request(http::Method::DELETE, &path).bearer(&admin).await.status, 200);
    assert_eq!(active(&broker).await, 0, "its app is deregistered");
}
