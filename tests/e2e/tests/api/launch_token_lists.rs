//! `GET /v1/admin/launch-tokens` and `DELETE /v1/admin/launch-tokens/{id}`

use agentwrit_e2e::{Broker, Registration, Response};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/admin/launch-tokens";

async fn issue(broker: &Broker, token: &str, path: &str, body: Value) -> Value {
    let answer = broker.post(path).bearer(token).json(&body).await;
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

async fn delete(broker: &Broker, token: &str, id: &str) -> Response {
    broker.request(Method::DELETE, &format!("{PATH}/{id}")).bearer(token).await
}

async fn register(broker: &Broker, issued: &Value) -> Response {
    let launch_token = issued["launch_token"].as_str().unwrap();
    let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
    broker.post("/v1/register").json(&registration.0).await
}

#[tokio::test]
async fn lists_launch_tokens_without_secrets() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    broker
        .get(PATH)
        .bearer(&admin)
        .await
        .expect(200, json!({"launch_tokens": [], "total": 0, "limit": 100, "offset": 0}));
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let body = json!({"agent_name": "reader", "allowed_scope": ["read:data:x"], "ttl": 600});
    let first = issue(&broker, &admin, PATH, body.clone()).await;
    let all = json!({
        "agent_name": "writer", "allowed_scope": ["read:data:*"], "ttl": 600, "max_ttl": 60, "single_use": false,
        "orch_id": "orch-1", "task_id": "task-1",
    });
    let second = issue(&broker, &broker.app_token(&app).await, "/v1/app/launch-tokens", all).await;
    assert_eq!(register(&broker, &first).await.status, 200);

    let listed = json!({"launch_tokens": [
        {
            "launch_token_id": first["launch_token_id"], "agent_name": "reader", "allowed_scope": ["read:data:x"],
            "max_ttl": 300, "single_use": true, "created_at": "$time", "expires_at": first["expires_at"],
            "created_by": "admin", "consumed_at": "$time",
        },
        {
            "launch_token_id": second["launch_token_id"], "agent_name": "writer", "allowed_scope": ["read:data:*"],
            "max_ttl": 60, "single_use": false, "created_at": "$time", "expires_at": second["expires_at"],
            "created_by": format!("app:{}", app.app_id), "app_id": app.app_id, "orch_id": "orch-1",
            "task_id": "task-1",
        },
    ], "total": 2, "limit": 100, "offset": 0});
    let answer = broker.get(PATH).bearer(&admin).await;
    answer.expect(200, listed);
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    for issued in [&first, &second] {
        assert!(!shown.contains(issued["launch_token"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn pages_stay_stable_while_launch_tokens_are_added() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let body = json!({"agent_name": "reader", "allowed_scope": ["read:data:x"], "ttl": 600});
        ids.push(issue(&broker, &admin, PATH, body).await["launch_token_id"].as_str().unwrap().to_owned());
    }
    let page = |query: String| broker.get(&format!("{PATH}{query}")).bearer(&admin).into_future();
    let listed = |body: &Value| -> Vec<String> {
        let entries = body["launch_tokens"].as_array().unwrap();
        entries.iter().map(|entry| entry["launch_token_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = page("?limit=2".into()).await.json();
    assert_eq!((listed(&first).as_slice(), &first["total"]), (&ids[..2], &json!(5)));
    // Deletions between pages move no entry.
    assert_eq!(delete(&broker, &admin, &ids[0]).await.status, 204);
    let second = page(format!("?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((listed(&second).as_slice(), &second["total"]), (&ids[2..4], &json!(4)));
    assert_eq!(listed(&page("?offset=1&limit=2".into()).await.json()), ids[2..4]);
    for query in ["?limit=0", "?limit=1001", "?offset=x", "?cursor=-1", "?agent_name=reader", "?limit=1&limit=2"] {
        page(query.into()).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn rejects_registration_with_deleted_launch_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let body = json!({"agent_name": "reader", "allowed_scope": ["read:data:x"], "ttl": 600, "single_use": false});
    let issued = issue(&broker, &admin, PATH, body).await;
    assert_eq!(register(&broker, &issued).await.status, 200);
    let id = issued["launch_token_id"].as_str().unwrap();
    let answer = delete(&broker, &admin, id).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    register(&broker, &issued).await.refused(401, "unauthorized", "launch token not found");
    assert_eq!(broker.get(PATH).bearer(&admin).await.json()["total"], 0);
    delete(&broker, &admin, id).await.problem(404, "not_found");

    let broker = Broker::start_in(broker.kill().await, &[]).await;
    register(&broker, &issued).await.refused(401, "unauthorized", "launch token not found");
    let events = broker.events(&admin, "event_type=token_revoked").await;
    assert!(events.len() == 1 && events[0]["detail"].as_str().unwrap().contains(id), "{events:?}");
}

#[tokio::test]
async fn answers_404_for_unknown_launch_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let body = json!({"agent_name": "reader", "allowed_scope": ["read:data:x"]});
    let launch_token = issue(&broker, &admin, PATH, body).await["launch_token"].as_str().unwrap().to_owned();
    for id in ["lt-0123456789abcdef", "lt-0123456789ABCDEF", "nonsense", "%00", "lt-", &launch_token] {
        delete(&broker, &admin, id).await.problem(404, "not_found");
    }
    let (stopped, _directory) = broker.terminate().await;
    assert!(!stopped.output.contains(&launch_token), "a token in the place of an id is not logged: {}", stopped.output);
}

#[tokio::test]
async fn requires_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let token = broker.app_token(&app).await;
    broker.get(PATH).bearer(&token).await.problem(403, "insufficient_scope");
    delete(&broker, &token, "lt-0123456789abcdef").await.problem(403, "insufficient_scope");
    broker.get(PATH).await.problem(401, "unauthorized");
    broker.get("/v1/app/launch-tokens").bearer(&token).await.problem(405, "method_not_allowed");
}
