//! `GET /v1/app/agents` and `GET /v1/app/audit/events`: an app's own agents and events only.

use agentwrit_e2e::{Agent, AppCredentials, Broker, until_expired};
use serde_json::{Value, json};

const AGENTS: &str = "/v1/app/agents";
const EVENTS: &str = "/v1/app/audit/events";

struct Tenant {
    app: AppCredentials,
    token: String,
}

async fn tenant(broker: &Broker, admin: &str, name: &str) -> Tenant {
    let app = broker.create_app(admin, name, &["read:data:*"]).await;
    Tenant { token: broker.app_token(&app).await, app }
}

impl Tenant {
    async fn enrol(&self, broker: &Broker, task: &str, ttl: u64) -> Agent {
        broker.enrol(&self.token, task, json!({"allowed_scope": ["read:data:x"], "max_ttl": ttl})).await
    }
}

fn entry(agent: &Agent, task: &str, status: &str) -> Value {
    json!({
        "agent_id": agent.id, "orch_id": "orch-1", "task_id": task, "scope": ["read:data:x"],
        "registered_at": "$time", "expires_at": "$time", "status": status,
    })
}

#[tokio::test]
async fn lists_only_agents_of_calling_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (one, other) = (tenant(&broker, &admin, "one").await, tenant(&broker, &admin, "other").await);
    let empty = json!({"agents": [], "total": 0, "limit": 100, "offset": 0});
    broker.get(AGENTS).bearer(&one.token).await.expect(200, empty);

    let active = one.enrol(&broker, "task-1", 300).await;
    let revoked = one.enrol(&broker, "task-2", 300).await;
    let expired = one.enrol(&broker, "task-3", 1).await;
    let foreign = other.enrol(&broker, "task-1", 300).await;
    broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:x"]})).await;
    broker.revoked(&admin, "agent", &revoked.id).await;
    until_expired(&expired.token).await;

    let own = [
        entry(&active, "task-1", "active"),
        entry(&revoked, "task-2", "revoked"),
        entry(&expired, "task-3", "expired"),
    ];
    broker
        .get(AGENTS)
        .bearer(&one.token)
        .await
        .expect(200, json!({"agents": own, "total": 3, "limit": 100, "offset": 0}));
    broker
        .get(AGENTS)
        .bearer(&other.token)
        .await
        .expect(200, json!({"agents": [entry(&foreign, "task-1", "active")], "total": 1, "limit": 100, "offset": 0}));
}

#[tokio::test]
async fn lists_agents_in_pages() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let tenant = tenant(&broker, &admin, "desk").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(tenant.enrol(&broker, "task-1", 300).await.id);
    }
    let page = |query: String| broker.get(&format!("{AGENTS}{query}")).bearer(&tenant.token).into_future();
    let first = page("?limit=2".into()).await.json();
    assert_eq!((&first["total"], &first["agents"][1]["agent_id"]), (&json!(3), &json!(ids[1])));
    let second = page(format!("?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((second["agents"].as_array().unwrap().len(), &second["agents"][0]["agent_id"]), (1, &json!(ids[2])));
    assert_eq!(page("?offset=2".into()).await.json()["agents"][0]["agent_id"], ids[2]);
    for query in ["?limit=0", "?limit=1001", "?cursor=x", "?app_id=x", "?status=active"] {
        page(query.into()).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn lists_only_events_of_calling_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (one, other) = (tenant(&broker, &admin, "one").await, tenant(&broker, &admin, "other").await);
    let agent = one.enrol(&broker, "task-1", 300).await;
    let foreign = other.enrol(&broker, "task-1", 300).await;
    let launch = json!({"agent_name": "a", "allowed_scope": ["write:data:x"]});
    broker.post("/v1/app/launch-tokens").bearer(&one.token).json(&launch).await.problem(403, "scope_violation");

    let (own, subject) = (broker.get(EVENTS).bearer(&one.token).await.json(), format!("app:{}", one.app.app_id));
    let seen: Vec<(&str, &str)> = own["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["event_type"].as_str().unwrap(), event["agent_id"].as_str().unwrap()))
        .collect();
    let expected = [
        ("app_authenticated", subject.as_str()),
        ("launch_token_issued", &subject),
        ("agent_registered", &agent.id),
        ("token_issued", &agent.id),
        ("scope_ceiling_exceeded", &subject),
    ];
    assert_eq!((seen, &own["total"]), (expected.to_vec(), &json!(5)));

    let count = |query: String| {
        let asked = broker.get(&format!("{EVENTS}{query}")).bearer(&one.token).into_future();
        async move { asked.await.json()["total"].as_u64().unwrap() }
    };
    assert_eq!(count("?task_id=task-1".into()).await, 2, "the other app has a task of that name too");
    assert_eq!(count(format!("?agent_id={}", agent.id)).await, 2);
    assert_eq!(count(format!("?agent_id={}", foreign.id)).await, 0);
    assert_eq!(count(format!("?agent_id={}&task_id=task-1", foreign.id)).await, 0);
    assert_eq!(count("?agent_id=admin".into()).await, 0);
    assert_eq!(count(format!("?agent_id=app:{}", other.app.app_id)).await, 0);
    assert_eq!(count("?outcome=denied".into()).await, 1);
    assert_eq!(count("?event_type=app_registered".into()).await, 0);
}

#[tokio::test]
async fn requires_app_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    for (path, scope) in [(AGENTS, "app:agents:*"), (EVENTS, "app:audit:read")] {
        for token in [&admin, &agent] {
            let answer = broker.get(path).bearer(token).await;
            answer.problem(403, "insufficient_scope");
            let challenge = format!(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="{scope}""#);
            assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()));
        }
        broker.get(path).await.problem(401, "unauthorized");
    }
}
