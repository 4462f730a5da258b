//! `POST /v1/register`: what is granted, and what stays usable after a refusal.

use agentwrit_e2e::{Broker, Key, Registration, Response, pattern, payload};
use agentwrit_verify::AgentId;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PATH: &str = "/v1/register";

async fn register(broker: &Broker, registration: &Registration) -> Response {
    broker.post(PATH).json(&registration.0).await
}

fn granted() -> Value {
    json!({"agent_id": "$starts(spiffe://agentwrit.local/agent/orch-1/task-1/)", "access_token": "$jwt", "expires_in": 300})
}

#[tokio::test]
async fn issues_token_to_registered_agent() {
    let broker = Broker::start().await;
    let scopes = ["read:data:x", "write:data:*"];
    let registration = broker.registration(&broker.admin_token().await, &scopes).await;
    let body = register(&broker, &registration).await.expect(200, granted());

    let id = AgentId::parse(body["agent_id"].as_str().unwrap()).unwrap();
    let claims = payload(body["access_token"].as_str().unwrap());
    let issued_at = claims["iat"].as_u64().unwrap();
    let expected = json!({
        "iss": "https://agentwrit.local", "sub": id.as_str(), "exp": issued_at + 300, "nbf": issued_at, "iat": "$uint",
        "jti": "$hex(32)", "sid": claims["jti"], "scope": scopes, "orch_id": "orch-1", "task_id": "task-1",
    });
    pattern::compare(&expected, &claims).unwrap();
}

#[tokio::test]
async fn grants_requested_scope_and_max_ttl_of_launch_token() {
    let broker =
        Broker::start_with(&[("AA_TRUST_DOMAIN", "agents.example"), ("AA_AUDIENCE", "https://api.example")]).await;
    let admin = broker.admin_token().await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:*", "write:data:*"], "max_ttl": 42});
    let launch = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&request).await.json();
    let launch_token = launch["launch_token"].as_str().unwrap();
    let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:y"]);
    let body = register(&broker, &registration).await.expect(
        200,
        json!({
            "agent_id": "$starts(spiffe://agents.example/agent/orch-1/task-1/)", "access_token": "$jwt",
            "expires_in": 42,
        }),
    );
    let claims = payload(body["access_token"].as_str().unwrap());
    assert_eq!(claims["scope"], json!(["read:data:y"]));
    assert_eq!(claims["iss"], "https://agents.example");
    assert_eq!(claims["aud"], json!(["https://api.example"]));
}

#[tokio::test]
async fn rejects_second_use_of_single_use_launch_token() {
    let broker = Broker::start().await;
    let registration = broker.registration(&broker.admin_token().await, &["read:data:x"]).await;
    register(&broker, &registration).await.expect(200, granted());
    let fresh_nonce = registration.clone().signed(&Key::generate(), &broker.nonce().await);
    register(&broker, &fresh_nonce).await.refused(401, "unauthorized", "launch token already consumed");
}

#[tokio::test]
async fn exactly_one_of_concurrent_registrations_succeeds() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch_token = broker.launch_token(&admin, &["read:data:x"]).await;
    let mut racers = JoinSet::new();
    for _ in 0..16 {
        let registration = Registration::new(&launch_token, &broker.nonce().await, &["read:data:x"]);
        racers.spawn(broker.post(PATH).json(&registration.0).into_future());
    }
    let answers = racers.join_all().await;
    let (won, lost): (Vec<&Response>, Vec<&Response>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    for answer in lost {
        answer.refused(401, "unauthorized", "launch token already consumed");
    }
}

#[tokio::test]
async fn reusable_launch_token_registers_agents_with_distinct_nonces() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "single_use": false});
    let launch = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&request).await.json();
    let launch_token = launch["launch_token"].as_str().unwrap();
    let first = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
    let second = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);

    let one = register(&broker, &first).await.expect(200, granted());
    let other = register(&broker, &second).await.expect(200, granted());
    assert_ne!(one["agent_id"], other["agent_id"]);
    register(&broker, &first).await.refused(401, "unauthorized", "nonce already consumed");
}

#[tokio::test]
async fn rejection_consumes_neither_launch_token_nor_nonce() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let valid = broker.registration(&admin, &["read:data:x"]).await;
    let nonce = valid.0["nonce"].as_str().unwrap().to_owned();
    let (key, other) = (Key::generate(), Key::generate());
    let of_other_nonce = valid.clone().signed(&key, &broker.nonce().await).0["signature"].clone();
    let of_text = json!(BASE64.encode(&key.sign(nonce.as_bytes())));
    let der = [&HEXLOWER.decode(b"302a300506032b6570032100").unwrap()[..], &key.public()].concat();
    let no_point = [&[2][..], &[0; 31]].concat(); // no point of the curve has y = 2
    let bad_signature = (401, "unauthorized", "nonce signature verification failed");
    let bad_key = (401, "unauthorized", "invalid Ed25519 public key");
    let with = |field: &str, value: Value| valid.clone().signed(&key, &nonce).with(field, value);

    let rows = broker.stored_rows();
    for (registration, (status, code, detail), hinted) in [
        (with("launch_token", json!("0".repeat(64))), (401, "unauthorized", "launch token not found"), None),
        (
            with("requested_scope", json!(["read:data:*"])),
            (403, "scope_violation", "requested scope exceeds allowed scope"),
            None,
        ),
        (
            with("requested_scope", json!(["read:data:x", "read:data:y"])),
            (403, "scope_violation", "requested scope exceeds allowed scope"),
            None,
        ),
        (with("nonce", json!("0".repeat(64))), (401, "unauthorized", "nonce not found or expired"), None),
        (with("signature", of_other_nonce), bad_signature, None),
        (with("signature", of_text), bad_signature, Some("not the text itself")),
        (with("signature", json!(BASE64.encode(&[0; 64]))), bad_signature, None),
        (with("public_key", json!(BASE64.encode(&other.public()))), bad_signature, None),
        (with("public_key", json!(BASE64.encode(&der))), bad_key, Some("DER")),
        (with("public_key", json!(BASE64.encode(&no_point))), bad_key, None),
    ] {
        let hint = register(&broker, &registration).await.refused(status, code, detail);
        if let Some(word) = hinted {
            assert!(hint.as_ref().is_some_and(|hint| hint.contains(word)), "`{word}` is not in {hint:?}");
        }
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
    register(&broker, &valid).await.expect(200, granted());
}

#[tokio::test]
async fn rejects_keys_of_small_order() {
    let broker = Broker::start().await;
    let valid = broker.registration(&broker.admin_token().await, &["read:data:x"]).await;
    let mut identity = [0; 32];
    identity[0] = 1;
    for key in [[0; 32], identity] {
        // With the identity as key, R = identity and S = 0 satisfy the equation for every message.
        let signature = [identity, [0; 32]].concat();
        let forged = valid
            .clone()
            .with("public_key", json!(BASE64.encode(&key)))
            .with("signature", json!(BASE64.encode(&signature)));
        register(&broker, &forged).await.problem(401, "unauthorized");
    }
    register(&broker, &valid).await.expect(200, granted());
}

#[tokio::test]
async fn rejects_task_other_than_pinned_one() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let request = json!({
        "agent_name": "a", "allowed_scope": ["read:data:x"], "orch_id": "orch-1", "task_id": "task-1",
    });
    let launch = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&request).await.json();
    let launch_token = launch["launch_token"].as_str().unwrap();
    let valid = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
    for field in ["orch_id", "task_id"] {
        let other = valid.clone().with(field, json!("another"));
        register(&broker, &other).await.problem(403, "scope_violation");
    }
    register(&broker, &valid).await.expect(200, granted());
}

#[tokio::test]
async fn applies_current_ceiling_of_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let token = broker.app_token(&app).await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:x"]});
    let launch = broker.post("/v1/app/launch-tokens").bearer(&token).json(&request).await.json();
    let launch_token = launch["launch_token"].as_str().unwrap();
    let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);

    let path = format!("/v1/admin/apps/{}", app.app_id);
    let narrow = |scopes: Value| {
        broker.request(http::Method::PUT, &path).bearer(&admin).json(&json!({"scopes": scopes})).into_future()
    };
    assert_eq!(narrow(json!(["read:data:y"])).await.status, 200);
    register(&broker, &registration).await.problem(403, "scope_violation");

    assert_eq!(narrow(json!(["read:data:*"])).await.status, 200);
    register(&broker, &registration).await.expect(200, granted());
}

#[tokio::test]
async fn rejects_nonce_of_other_broker() {
    let (broker, other) = tokio::join!(Broker::start(), Broker::start());
    let valid = broker.registration(&broker.admin_token().await, &["read:data:x"]).await;
    let foreign = valid.clone().signed(&Key::generate(), &other.nonce().await);
    register(&broker, &foreign).await.refused(401, "unauthorized", "nonce not found or expired");
    register(&broker, &valid).await.expect(200, granted());
}
