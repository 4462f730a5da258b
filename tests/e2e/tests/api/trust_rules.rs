//! `/v1/admin/trust-rules`: rules by which assertions of other issuers register agents.

use agentwrit_e2e::{Broker, Response};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/admin/trust-rules";

fn rule(app_id: &str, name: &str) -> Value {
    json!({
        "name": name, "app_id": app_id, "kind": "oidc", "issuer": "https://id.example", "audience": "agentwrit",
        "jwks_url": "https://id.example/jwks", "claims": {"sub": {"prefix": "repo:acme/"}, "run": {"equals": 7}},
        "allowed_scope": ["read:data:x"], "max_ttl": 60, "task_template": "ci-{run}",
    })
}

async fn add(broker: &Broker, token: &str, body: Value) -> Response {
    broker.post(PATH).bearer(token).json(&body).await
}

fn with(mut rule: Value, member: &str, value: Value) -> Value {
    rule[member] = value;
    rule
}

#[tokio::test]
async fn adds_lists_and_removes_rules() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let mut records = Vec::new();
    for name in ["ci", "nightly"] {
        let mut expected = rule(&app.app_id, name);
        expected["trust_rule_id"] = json!("$sentence");
        expected["created_at"] = json!("$time");
        expected["created_by"] = json!("admin");
        let added = add(&broker, &admin, rule(&app.app_id, name)).await.expect(201, expected);
        assert!(added["trust_rule_id"].as_str().unwrap().starts_with(&format!("rule-{name}-")));
        records.push(added);
    }
    let page = |query: &str| broker.get(&format!("{PATH}{query}")).bearer(&admin).into_future();
    let all = json!({"trust_rules": records, "total": 2, "limit": 100, "offset": 0});
    page("").await.expect(200, all);
    let first = page("?limit=1").await.json();
    assert_eq!(first["trust_rules"], json!([records[0]]));
    let next = format!("?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    assert_eq!(page(&next).await.json()["trust_rules"], json!([records[1]]));

    let one = format!("{PATH}/{}", records[0]["trust_rule_id"].as_str().unwrap());
    let remove = || broker.request(Method::DELETE, &one).bearer(&admin).into_future();
    assert_eq!(remove().await.status, 204);
    remove().await.refused(404, "not_found", "no such trust rule");
    assert_eq!(page("").await.json()["trust_rules"], json!([records[1]]));
    assert_eq!(add(&broker, &admin, rule(&app.app_id, "ci")).await.status, 201, "the name is free again");
}

#[tokio::test]
async fn rejects_rules_that_trust_too_much() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let good = rule(&app.app_id, "ci");
    for (member, value) in [
        ("claims", json!({})),
        ("claims", json!({"aud": {"equals": "agentwrit"}})),
        ("claims", json!({"sub": {"prefix": ""}})),
        ("claims", json!({"sub": {"equals": "a", "prefix": "a"}})),
        ("claims", json!({"sub": {"prefix": "repo:acme"}})),
        ("claims", json!({"ref": {"equals": "refs/heads/main"}, "event_name": {"equals": "push"}})),
        ("claims", json!({"email_verified": {"equals": true}})),
        ("issuer", json!("a b")),
        ("issuer", json!("id.example")),
        ("jwks_url", json!("http://id.example/jwks")),
        ("jwks_url", json!("https://id.example:99999/jwks")),
        ("task_template", json!("a/b")),
        ("task_template", json!("..")),
        ("token_review", json!(true)),
        ("name", json!("CI")),
    ] {
        let refused = add(&broker, &admin, with(good.clone(), member, value)).await.json();
        assert_eq!(refused["error_code"], "invalid_request", "{member}: {refused}");
        assert!(refused["detail"].as_str().unwrap().starts_with(&format!("{member}: ")), "{refused}");
    }
    let wide = with(good.clone(), "allowed_scope", json!(["write:data:x"]));
    add(&broker, &admin, wide).await.refused(403, "scope_violation", "requested scopes exceed app ceiling");
    let unknown = with(good.clone(), "app_id", json!("app-none-000000"));
    add(&broker, &admin, unknown).await.refused(404, "not_found", "no such app");
    assert_eq!(add(&broker, &admin, good.clone()).await.status, 201);
    add(&broker, &admin, good).await.refused(409, "conflict", "a trust rule of that name exists");
}
