//! Queries with many parameters, and with names that an endpoint does not know.

use agentwrit_e2e::{Broker, payload};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn rejects_more_than_16_parameters_before_comparing_them() {
    let broker = Broker::start().await;
    let letters = || b'a'..=b'z';
    // As many as fit into a request head.
    let names = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])));
    let query: Vec<String> = names.take(3_500).map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
    for (count, detail) in [
        (3_500, "a query has at most 16 parameters"),
        (17, "a query has at most 16 parameters"),
        (16, "aaa: no such parameter; known are since, wait"),
    ] {
        let answer = broker.get(&format!("/v1/revocations?{}", query[..count].join("&"))).await;
        answer.refused(400, "invalid_request", detail);
    }
}

#[tokio::test]
async fn rejects_unknown_parameter_on_every_endpoint() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "front-desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let agent = broker.enrol(&app_token, "one", json!({"allowed_scope": ["read:data:x"]})).await;
    let anyone = "";
    for (method, path, token) in [
        (Method::GET, "/v1/health", anyone),
        (Method::GET, "/v1/metrics", anyone),
        (Method::GET, "/v1/openapi.json", anyone),
        (Method::GET, "/v1/challenge", anyone),
        (Method::GET, "/.well-known/jwks.json", anyone),
        (Method::GET, "/v1/revocations", anyone),
        (Method::POST, "/v1/token/validate", anyone),
        (Method::POST, "/v1/admin/auth", anyone),
        (Method::POST, "/v1/app/auth", anyone),
        (Method::POST, "/v1/register", anyone),
        (Method::POST, "/v1/token/renew", &agent.token),
        (Method::POST, "/v1/delegate", &agent.token),
        (Method::POST, "/v1/token/release", &agent.token),
        (Method::GET, "/v1/admin/apps", &admin),
        (Method::POST, "/v1/admin/apps", &admin),
        (Method::GET, "/v1/admin/apps/app-x-000000", &admin),
        (Method::DELETE, "/v1/admin/apps/app-x-000000", &admin),
        (Method::GET, "/v1/admin/launch-tokens", &admin),
        (Method::POST, "/v1/app/launch-tokens", &app_token),
        (Method::GET, "/v1/app/agents", &app_token),
        (Method::GET, "/v1/app/audit/events", &app_token),
        (Method::GET, "/v1/audit/events", &admin),
        (Method::GET, "/v1/admin/revocations", &admin),
        (Method::POST, "/v1/revoke", &admin),
    ] {
        let mut request = broker.request(method, &format!("{path}?limitt=1")).body("{}");
        if token != anyone {
            request = request.bearer(token);
        }
        request.await.refused_for(400, "invalid_request", "limitt: no such parameter");
    }
    // A rejected request has no effect.
    assert!(broker.accepts(&agent.token).await, "{}", payload(&agent.token));
}
