//! Registration of agents, and input that is rejected before anything is sent.

use std::time::Duration;

use agentwrit_client::{AgentKey, App, ClientError, TokenType, Validation};
use agentwrit_verify::{
    ClaimSet, SenderConstraint, UnixTime,
    testing::{ManualClock, TestIssuer},
};
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use crate::broker::{FakeBroker, app_at, problem};

const ID: &str = "spiffe://agentwrit.local/agent/billing/invoice-1/0123456789abcdef";
const NOW: u64 = 1_795_248_000;

async fn broker() -> FakeBroker {
    let broker = FakeBroker::with_app().await;
    broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
    broker.on("POST /v1/register", 200, &json!({"agent_id": ID, "access_token": "agent-token", "expires_in": 300}));
    broker
}

fn app(broker: &FakeBroker) -> App {
    let clock = ManualClock::new(UnixTime::from_seconds(NOW));
    app_at(&broker.url, clock)
}

fn array<const N: usize>(encoded: &Value) -> [u8; N] {
    BASE64.decode(encoded.as_str().unwrap().as_bytes()).unwrap().try_into().unwrap()
}

#[tokio::test]
async fn create_sends_launch_token_challenge_and_registration() {
    let broker = broker().await;
    let agent = app(&broker).agent("billing", "invoice-1").scope(["read:data:x"]).unwrap().create().await.unwrap();

    assert_eq!(agent.id().as_str(), ID);
    assert_eq!(agent.token().expose(), "agent-token");
    assert_eq!(agent.authorization(), "Bearer agent-token");
    assert!(agent.authorization().is_sensitive());
    assert_eq!(agent.expires_at(), UnixTime::from_seconds(NOW + 300));
    assert_eq!(agent.scopes().iter().map(ToString::to_string).collect::<Vec<_>>(), ["read:data:x"]);

    let lines = ["POST /v1/app/auth", "POST /v1/app/launch-tokens", "GET /v1/challenge", "POST /v1/register"];
    assert_eq!(broker.request_lines(), lines);
    assert_eq!(
        broker.requests(lines[1])[0].json(),
        json!({
            "agent_name": "billing/invoice-1", "allowed_scope": ["read:data:x"], "single_use": true,
            "orch_id": "billing", "task_id": "invoice-1",
        })
    );
    let registration = &broker.requests(lines[3])[0];
    assert_eq!(registration.authorization(), None);
    let mut body = registration.json();
    let key = VerifyingKey::from_bytes(&array(&body["public_key"])).unwrap();
    key.verify_strict(&[7; 32], &Signature::from_bytes(&array(&body["signature"]))).expect("signs the decoded nonce");
    body.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "public_key" | "signature"));
    assert_eq!(
        body,
        json!({
            "launch_token": "launch-token", "nonce": HEXLOWER.encode(&[7; 32]), "orch_id": "billing",
            "task_id": "invoice-1", "requested_scope": ["read:data:x"],
        })
    );
}

#[tokio::test]
async fn sends_options_to_broker() {
    let broker = broker().await;
    let request = app(&broker).agent("billing", "invoice-1").scope(["read:data:x"]).unwrap();
    let seed = [9; 32];
    let request =
        request.max_ttl(Duration::from_secs(60)).label("invoice reader").signing_key(AgentKey::from_seed(&seed));
    request.create().await.unwrap();

    let launch = broker.requests("POST /v1/app/launch-tokens")[0].json();
    assert_eq!((&launch["agent_name"], &launch["max_ttl"]), (&json!("invoice reader"), &json!(60)));
    let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key();
    assert_eq!(array::<32>(&broker.requests("POST /v1/register")[0].json()["public_key"]), *public.as_bytes());
}

#[tokio::test]
async fn registers_each_agent_with_its_own_key() {
    let broker = broker().await;
    let app = app(&broker);
    for _ in 0..2 {
        app.agent("billing", "invoice-1").scope(["read:data:x"]).unwrap().create().await.unwrap();
    }
    let requests = broker.requests("POST /v1/register");
    assert_ne!(requests[0].json()["public_key"], requests[1].json()["public_key"]);
}

#[tokio::test]
async fn rejects_invalid_input_before_sending() {
    let broker = broker().await;
    let app = app(&broker);
    let too_many: Vec<String> = (0..65).map(|i| format!("read:data:{i}")).collect();
    for (orch_id, task_id, scope, field) in [
        ("", "task", vec!["read:data:x".to_owned()], "orch_id"),
        ("a/b", "task", vec!["read:data:x".to_owned()], "orch_id"),
        ("orch", "..", vec!["read:data:x".to_owned()], "task_id"),
        ("orch", "task", vec![], "scope"),
        ("orch", "task", vec!["read:data".to_owned()], "scope"),
        ("orch", "task", too_many, "scope"),
    ] {
        let error = app.agent(orch_id, task_id).scope(&scope).unwrap_err();
        let ClientError::InvalidInput { field: named, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*named, field, "{error}");
    }
    let short = app.agent("orch", "task").scope(["read:data:x"]).unwrap().max_ttl(Duration::from_millis(999));
    let reason = "`999ms` is shorter than a second".to_owned();
    assert_eq!(short.create().await.unwrap_err(), ClientError::InvalidInput { field: "max_ttl", reason });
    assert_eq!(broker.request_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn create_returns_rejection_of_any_step() {
    for (refusing, lines) in [("POST /v1/app/launch-tokens", 2), ("GET /v1/challenge", 3), ("POST /v1/register", 4)] {
        let broker = FakeBroker::start().await;
        broker.on(refusing, 403, &problem(403, "scope_violation", "requested scopes exceed app ceiling"));
        let full = crate::broker::token("app-token", 1000);
        broker.on("POST /v1/app/auth", 200, &full);
        let policy = json!({"allowed_scope": ["read:data:x"], "max_ttl": 300});
        let launch = json!({"launch_token": "lt", "expires_at": "2026-11-21T08:00:30Z", "policy": policy});
        broker.on("POST /v1/app/launch-tokens", 201, &launch);
        broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));

        let request = app(&broker).agent("billing", "invoice-1").scope(["read:data:x"]).unwrap();
        let error = request.create().await.unwrap_err();

        assert_eq!(error.error_code(), Some("scope_violation"));
        assert_eq!(error.hint(), Some("read the documentation"));
        assert_eq!(error.request_id(), Some("0123456789abcdef"));
        assert_eq!(error.to_string(), "broker refused (403): requested scopes exceed app ceiling");
        assert_eq!(broker.request_lines().len(), lines, "{refusing}");
    }
}

#[tokio::test]
async fn unusable_challenge_or_registration_is_malformed_response() {
    let other = "spiffe://agentwrit.local/agent/billing/invoice-2/0123456789abcdef";
    for (line, body, reason) in [
        ("GET /v1/challenge", json!({"nonce": "ff", "expires_in": 30}), "expected 32 bytes in hexadecimal"),
        ("GET /v1/challenge", json!({"nonce": "x".repeat(64)}), "expected 32 bytes in hexadecimal"),
        (
            "POST /v1/register",
            json!({"agent_id": other, "access_token": "t", "expires_in": 300}),
            "is not the agent that was asked for",
        ),
        (
            "POST /v1/register",
            json!({"agent_id": ID, "access_token": "a\nb", "expires_in": 300}),
            "unusable access token",
        ),
        ("POST /v1/register", json!({"agent_id": ID, "expires_in": 300}), "missing field `access_token`"),
    ] {
        let broker = FakeBroker::with_app().await;
        broker.on(line, 200, &body);
        broker.on("GET /v1/challenge", 200, &json!({"nonce": HEXLOWER.encode(&[7; 32]), "expires_in": 30}));
        let request = app(&broker).agent("billing", "invoice-1").scope(["read:data:x"]).unwrap();
        let error = request.create().await.unwrap_err();
        assert!(matches!(&error, ClientError::MalformedResponse { endpoint, .. } if endpoint == line), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn validation_distinguishes_valid_from_invalid() {
    let broker = FakeBroker::start().await;
    let claims = json!({
        "iss": "https://agentwrit.local", "sub": ID, "exp": NOW + 300, "nbf": NOW, "iat": NOW,
        "jti": "00112233445566778899aabbccddeeff", "sid": "00112233445566778899aabbccddeeff",
        "scope": ["read:data:x"], "task_id": "invoice-1", "orch_id": "billing",
    });
    broker.on("POST /v1/token/validate", 200, &json!({"valid": true, "claims": claims}));
    broker.on("POST /v1/token/validate", 200, &json!({"valid": false, "error": "token is invalid or expired"}));
    broker.on("POST /v1/token/validate", 200, &json!({"valid": true}));
    let app = app(&broker);

    let valid = app.client().validate("some-token").await.unwrap();
    assert_eq!((valid.is_valid(), valid.token_type()), (true, Some(TokenType::Bearer)));
    let Validation::Valid(claims) = valid else { panic!("{valid:?}") };
    assert_eq!(claims.sub.to_string(), ID);
    let reason = "token is invalid or expired".to_owned();
    assert_eq!(app.client().validate("some-token").await.unwrap(), Validation::Invalid { reason });
    assert!(matches!(app.client().validate("some-token").await, Err(ClientError::MalformedResponse { .. })));
    assert_eq!(broker.requests("POST /v1/token/validate")[0].json(), json!({"token": "some-token"}));
    assert_eq!(broker.count("POST /v1/app/auth"), 0, "validation needs no authentication");
}

#[tokio::test]
async fn validation_names_type_of_bound_token() {
    let (broker, issuer) = (FakeBroker::start().await, TestIssuer::new());
    let key = AgentKey::from_seed(&[9; 32]).thumbprint();
    let known = ClaimSet { cnf: Some(SenderConstraint { jkt: key }), ..issuer.claims(&["read:data:x"]) };
    let unbound = ClaimSet { cnf: None, ..known.clone() };
    let line = "POST /v1/token/validate";
    let other = json!({"cnf": {"jkt": key}, "sub": "another form"});
    for claims in [json!(known), other, json!(unbound)] {
        broker.on(line, 200, &json!({"valid": true, "token_type": "DPoP", "claims": claims}));
    }
    for _ in 0..2 {
        let validation = app(&broker).client().validate("some-token").await.unwrap();
        assert_eq!(validation.token_type(), Some(TokenType::Dpop), "{validation:?}");
    }
    let error = app(&broker).client().validate("some-token").await.unwrap_err();
    assert!(error.to_string().ends_with("the token type is DPoP, but the claims name no key"), "{error}");
}

#[tokio::test]
async fn returns_health_of_unhealthy_broker() {
    let body = |status: &str, connected: bool| json!({"status": status, "version": "0.1.0", "uptime": 7, "db_connected": connected, "audit_events_count": 3});
    let broker = FakeBroker::start().await;
    broker.on("GET /v1/health", 200, &body("ok", true));
    broker.on("GET /v1/health", 503, &body("unavailable", false));
    broker.on("GET /v1/health", 503, &problem(503, "unavailable", "starting"));
    let app = app(&broker);

    let health = app.client().health().await.unwrap();
    assert!(health.is_ok());
    assert_eq!((health.version.as_str(), health.uptime, health.audit_events_count), ("0.1.0", 7, 3));
    assert!(!app.client().health().await.unwrap().is_ok());
    assert_eq!(app.client().health().await.unwrap_err().error_code(), Some("unavailable"));
}
