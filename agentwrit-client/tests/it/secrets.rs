//! No secret in `Debug`, in an error or in an unexpected place of a request.

use agentwrit_client::{AgentKey, AgentState, Client, NewApp, NewLaunchToken, Registration};
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::broker::{FakeBroker, token};

#[tokio::test]
async fn debug_omits_secrets() {
    let broker = FakeBroker::with_app().await;
    let id = "spiffe://agentwrit.local/agent/billing/invoice-1/0123456789abcdef";
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on("POST /v1/register", 200, &json!({"agent_id": id, "access_token": "agent-token", "expires_in": 300}));
    broker.on("POST /v1/admin/auth", 200, &token("admin-token", 300));
    broker.on(
        "POST /v1/admin/apps",
        201,
        &json!({
            "app_id": "app-desk-0a1b2c", "client_id": "id-1", "client_secret": "client-secret", "name": "desk",
            "scopes": ["read:data:*"], "token_ttl": 1800, "status": "active", "created_at": "2026-11-21T08:00:00Z",
            "updated_at": "2026-11-21T08:00:00Z",
        }),
    );

    let builder = Client::builder(&broker.url);
    let client = builder.clone().build().unwrap();
    let app = client.app("id-1", "client-secret").unwrap();
    let new_agent = app.agent("billing", "invoice-1");
    let key = AgentKey::from_seed(b"0123456789abcdef0123456789abcdef");
    let request = new_agent.clone().scope(["read:data:x"]).unwrap().signing_key(key.clone());
    let agent = request.clone().create().await.unwrap();
    let launch = app.create_launch_token(&NewLaunchToken::new("a", ["read:data:x"]).unwrap()).await.unwrap();
    let registration = Registration::new("billing", "invoice-1", ["read:data:x"]).unwrap().signing_key(key.clone());
    let keep_alive = (request.clone().keep_alive(), agent.clone().keep_alive());
    let live = request.clone().keep_alive().start().await.unwrap();
    let state: AgentState = live.subscribe().borrow().clone();
    let admin = client.admin("admin-secret").unwrap();
    let credentials = admin.create_app(&NewApp::new("desk", ["read:data:*"]).unwrap()).await.unwrap();

    let shown = format!(
        "{builder:?} {client:?} {app:#?} {new_agent:?} {request:?} {agent:?} {launch:?} {key:?} {admin:?} \
         {credentials:?} {:?} {registration:?} {keep_alive:?} {live:#?} {state:?} {:?}",
        agent.authorization(),
        live.authorization(),
    );
    for secret in [
        "client-secret",
        "admin-secret",
        "agent-token",
        "app-token",
        "admin-token",
        "launch-token",
        "abcdef0123",
        "48, 49",
    ] {
        assert!(!shown.contains(secret), "`{secret}` in {shown}");
    }
    assert!(shown.contains(id), "what is no secret is shown: {shown}");
}

#[tokio::test]
async fn errors_omit_secrets() {
    let broker = FakeBroker::start().await;
    broker.on_raw("POST /v1/app/auth", 200, &[], r#"{"access_token":"app-token","expires_in":"soon"}"#);
    let app = Client::new(&broker.url).unwrap().app("id-1", "client-secret").unwrap();
    let request = app.agent("billing", "invoice-1").scope(["read:data:x"]).unwrap();
    let error = request.create().await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("app-token") && !shown.contains("client-secret"), "{shown}");
}

#[cfg(all(feature = "reqwest-middleware", feature = "tower"))]
#[tokio::test]
async fn debug_of_layer_and_middleware_omits_token() {
    use agentwrit_client::{AuthorizeLayer, AuthorizeMiddleware, Origins};
    use agentwrit_verify::testing::TestIssuer;
    use tower::Layer;

    let token = TestIssuer::new().token(&["read:data:x"]);
    let agent = Client::new("http://127.0.0.1:1").unwrap().agent(token.as_str()).unwrap();
    let origins = Origins::new(["https://records.example"]).unwrap();
    let layer = AuthorizeLayer::new(agent.clone(), origins.clone());
    let middleware = AuthorizeMiddleware::new(agent, origins.clone());
    let shown = format!("{origins:?} {layer:?} {middleware:?} {:?}", layer.layer(()));
    let signature = token.rsplit('.').next().unwrap();
    assert!(!shown.contains(signature) && shown.contains("records.example"), "{shown}");
}
