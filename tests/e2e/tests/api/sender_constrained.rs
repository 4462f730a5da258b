//! Sender-constrained tokens at the broker's own endpoints: contract §13, RFC 9449.

use std::time::Duration;

use agentwrit_e2e::{Agent, Broker, DpopAgent, Response, payload, until_expired};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

const SCOPE: &str = "read:data:x";

/// Challenge of a token whose sender did not prove its key.
const INVALID_TOKEN: &str = r#"DPoP error="invalid_token", algs="EdDSA Ed25519""#;
const INVALID_PROOF: &str = r#"DPoP error="invalid_dpop_proof", algs="EdDSA Ed25519""#;

fn launch(sender_constrained: bool) -> Value {
    json!({"allowed_scope": [SCOPE], "sender_constrained": sender_constrained})
}

async fn bound_agent(broker: &Broker, admin: &str) -> DpopAgent {
    DpopAgent::register(broker, admin, "task-1", launch(true)).await
}

/// Returns whether the token is valid, apart from the proof that presents it.
async fn is_valid(broker: &Broker, token: &str) -> bool {
    broker.post("/v1/token/validate").json(&json!({"token": token})).await.json()["valid"] == json!(true)
}

#[track_caller]
fn assert_challenge(response: &Response, challenge: &str) {
    assert_eq!(response.header("www-authenticate"), Some(challenge));
}

#[tokio::test]
async fn registers_bound_token_of_key_that_nonce_was_signed_with() {
    let broker = Broker::start().await;
    let agent = bound_agent(&broker, &broker.admin_token().await).await;
    assert_eq!(payload(&agent.token)["cnf"], json!({"jkt": agent.thumbprint()}));
    let validated = broker.post("/v1/token/validate").json(&json!({"token": agent.token})).await.json();
    assert_eq!((&validated["valid"], &validated["claims"]["cnf"]["jkt"]), (&json!(true), &json!(agent.thumbprint())));
    assert_eq!(validated["token_type"], "DPoP");
}

#[tokio::test]
async fn rejects_bound_token_without_proof_and_says_what_to_do() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = bound_agent(&broker, &admin).await;
    let other = broker.enrol(&admin, "task-1", launch(false)).await;
    for response in [
        broker.renew(&agent.token).await,
        broker.release(&agent.token).await,
        broker.delegate(&agent.token, &other, &[SCOPE]).await,
    ] {
        let (_, hint) = response.problem(401, "unauthorized");
        assert!(hint.is_some_and(|hint| hint.contains("`Authorization: DPoP <token>`")), "{response:?}");
        assert_challenge(&response, INVALID_TOKEN);
    }
    assert!(is_valid(&broker, &agent.token).await, "the refusals consumed nothing");
}

#[tokio::test]
async fn renews_delegates_and_releases_bound_token_with_proofs() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let mut agent = bound_agent(&broker, &admin).await;
    let delegate = broker.enrol(&admin, "task-1", launch(false)).await;

    let renewed = agent.send(&broker, "/v1/token/renew", None).await;
    let body = renewed.expect(200, json!({"access_token": "$jwt", "expires_in": 300, "token_type": "DPoP"}));
    let old = std::mem::replace(&mut agent.token, body["access_token"].as_str().unwrap().to_owned());
    assert_eq!(payload(&agent.token)["cnf"], payload(&old)["cnf"]);
    assert!(!is_valid(&broker, &old).await && is_valid(&broker, &agent.token).await);

    let body = json!({"delegate_to": delegate.id, "scope": [SCOPE], "ttl": 60});
    let delegated = agent.send(&broker, "/v1/delegate", Some(&body)).await;
    assert_eq!((delegated.status, &delegated.json()["token_type"]), (200, &json!("DPoP")));

    assert_eq!(agent.send(&broker, "/v1/token/release", None).await.status, 204);
    assert!(!is_valid(&broker, &agent.token).await);
    assert_eq!(agent.send(&broker, "/v1/token/release", None).await.status, 204, "releasing again changes nothing");
}

#[tokio::test]
async fn delegated_token_is_of_no_use_to_delegator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let delegator = bound_agent(&broker, &admin).await;
    let delegate = DpopAgent::register(&broker, &admin, "task-1", launch(false)).await;
    let body = json!({"delegate_to": delegate.id, "scope": [SCOPE], "ttl": 60});
    let delegated = delegator.send(&broker, "/v1/delegate", Some(&body)).await.json();
    let token = delegated["access_token"].as_str().unwrap();
    assert_eq!(payload(token)["cnf"], json!({"jkt": delegate.thumbprint()}));

    let carried = delegator.with_token(token);
    for response in [broker.renew(token).await, carried.send(&broker, "/v1/token/renew", None).await] {
        response.problem(401, "unauthorized");
    }
    assert_challenge(&carried.send(&broker, "/v1/token/release", None).await, INVALID_PROOF);
    let held = delegate.with_token(token);
    assert_eq!(held.send(&broker, "/v1/token/renew", None).await.status, 200);
}

#[tokio::test]
async fn rejects_proofs_of_other_requests_tokens_and_keys() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = bound_agent(&broker, &admin).await;
    let thief = bound_agent(&broker, &admin).await;
    let url = |path: &str| format!("{}{path}", broker.url);
    let renew = "/v1/token/renew";
    let elsewhere = "http://broker.example/v1/token/renew";
    for (name, proof) in [
        ("another method", agent.proof("GET", &url(renew), None)),
        ("another path", agent.proof("POST", &url("/v1/token/release"), None)),
        ("another host", agent.proof("POST", elsewhere, None)),
        ("another key", thief.proof_of(&agent.token, "POST", &url(renew), None)),
        ("another token", agent.proof_of(&thief.token, "POST", &url(renew), None)),
        ("no proof", String::from("nonsense")),
    ] {
        let authorization = format!("DPoP {}", agent.token);
        let response = broker.post(renew).header("authorization", &authorization).header("dpop", &proof).await;
        let (_, hint) = response.problem(401, "unauthorized");
        assert!(hint.is_some(), "{name}");
        assert_challenge(&response, INVALID_PROOF);
    }
    // Neither as a bearer token: the proof does not change its scheme.
    let proof = agent.proof("POST", &url(renew), None);
    let response = broker.post(renew).bearer(&agent.token).header("dpop", &proof).await;
    assert_challenge(&response, INVALID_TOKEN);
    let twice = broker.post(renew).header("authorization", &format!("DPoP {}", agent.token));
    assert_challenge(&twice.header("dpop", &proof).header("dpop", &proof).await, INVALID_PROOF);
    assert!(is_valid(&broker, &agent.token).await);
}

#[tokio::test]
async fn accepts_proof_once() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = bound_agent(&broker, &admin).await;
    let delegate = broker.enrol(&admin, "task-1", launch(false)).await;
    let body = json!({"delegate_to": delegate.id, "scope": [SCOPE], "ttl": 60});
    let nonce = agent.nonce(&broker).await;
    let proof = agent.proof("POST", &format!("{}/v1/delegate", broker.url), nonce.as_deref());
    let send = || {
        let request = broker.post("/v1/delegate").header("authorization", &format!("DPoP {}", agent.token));
        request.header("dpop", &proof).json(&body)
    };
    assert_eq!(send().await.status, 200);
    let replayed = send().await;
    replayed.problem(401, "unauthorized");
    assert_challenge(&replayed, INVALID_PROOF);
}

#[tokio::test]
async fn new_broker_demands_nonce_before_it_accepts_proof() {
    let broker = Broker::start().await;
    let agent = bound_agent(&broker, &broker.admin_token().await).await;
    // Made before the start: it may have been used at the process that ran then.
    let proof = agent.old_proof("POST", &format!("{}/v1/token/renew", broker.url), Duration::from_secs(30));
    let request = broker.post("/v1/token/renew").header("authorization", &format!("DPoP {}", agent.token));
    let response = request.header("dpop", &proof).await;
    response.problem(401, "unauthorized");
    assert_challenge(&response, r#"DPoP error="use_dpop_nonce", algs="EdDSA Ed25519""#);
    let nonce = response.header("dpop-nonce").unwrap();
    let proof = agent.proof("POST", &format!("{}/v1/token/renew", broker.url), Some(nonce));
    let request = broker.post("/v1/token/renew").header("authorization", &format!("DPoP {}", agent.token));
    assert_eq!(request.header("dpop", &proof).await.status, 200);
}

#[tokio::test]
async fn rejects_unbound_token_with_scheme_dpop() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = DpopAgent::register(&broker, &admin, "task-1", launch(false)).await;
    let response = agent.send(&broker, "/v1/token/renew", None).await;
    response.problem(401, "unauthorized");
    assert_challenge(&response, INVALID_TOKEN);
    assert_eq!(broker.renew(&agent.token).await.status, 200);
}

#[tokio::test]
async fn challenges_of_invalid_tokens_are_in_scheme_of_request() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let short = json!({"allowed_scope": [SCOPE], "sender_constrained": true, "max_ttl": 1});
    let agent = DpopAgent::register(&broker, &admin, "task-1", short).await;
    until_expired(&agent.token).await;
    let of_dpop = r#"DPoP realm="agentwrit", error="invalid_token", algs="EdDSA Ed25519""#;
    for path in ["/v1/token/renew", "/v1/token/release", "/v1/delegate"] {
        let response = agent.send(&broker, path, None).await;
        response.problem(401, "unauthorized");
        assert_challenge(&response, of_dpop);
        let response = broker.post(path).bearer(&agent.token).await;
        assert_challenge(&response, r#"Bearer realm="agentwrit", error="invalid_token""#);
        assert_challenge(&broker.post(path).await, r#"Bearer realm="agentwrit""#);
    }
}

#[tokio::test]
async fn lost_renewal_cannot_be_repeated_with_same_proof_or_another() {
    let broker = Broker::start().await;
    let agent = bound_agent(&broker, &broker.admin_token().await).await;
    let nonce = agent.nonce(&broker).await;
    let proof = agent.proof("POST", &format!("{}/v1/token/renew", broker.url), nonce.as_deref());
    let send = || broker.post("/v1/token/renew").header("authorization", &format!("DPoP {}", agent.token));
    let renewed = send().header("dpop", &proof).await.json();
    for response in [send().header("dpop", &proof).await, agent.send(&broker, "/v1/token/renew", None).await] {
        response.refused(401, "unauthorized", "token renewal failed");
    }
    assert!(is_valid(&broker, renewed["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn takes_proof_in_registration_by_registered_key_only() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch_token = broker.launch_token(&admin, &[SCOPE]).await;
    let agent = DpopAgent::unregistered();
    let other = DpopAgent::unregistered();
    let url = format!("{}/v1/register", broker.url);
    let body = agent.registration(&launch_token, &broker.nonce().await, &[SCOPE]);
    let send = |proof: String| broker.post("/v1/register").header("dpop", &proof).json(&body);

    for wrong in [
        other.bare_proof("POST", &url, None),
        agent.bare_proof("POST", &format!("{}/v1/other", broker.url), None),
        String::from("nonsense"),
    ] {
        let (detail, hint) = send(wrong).await.problem(400, "invalid_request");
        assert!(detail.starts_with("invalid DPoP proof: ") && hint.is_some(), "{detail}");
    }
    let mut registered = send(agent.bare_proof("POST", &url, None)).await;
    if let Some(nonce) = registered.header("dpop-nonce").map(str::to_owned) {
        registered.problem(400, "invalid_request");
        registered = send(agent.bare_proof("POST", &url, Some(&nonce))).await;
    }
    let body = registered.expect(
        200,
        json!({"agent_id": "$starts(spiffe://)", "access_token": "$jwt", "expires_in": 300, "token_type": "DPoP"}),
    );
    assert_eq!(payload(body["access_token"].as_str().unwrap())["cnf"]["jkt"], json!(agent.thumbprint()));
}

#[tokio::test]
async fn required_binds_every_agent_and_no_operator_or_app() {
    let broker = Broker::start_with(&[("AA_SENDER_CONSTRAINED", "required")]).await;
    let admin = broker.admin_token().await;
    assert_eq!(payload(&admin)["cnf"], Value::Null);
    let app = broker.app_token(&broker.create_app(&admin, "desk", &[SCOPE]).await).await;
    assert_eq!(payload(&app)["cnf"], Value::Null);
    let response = broker.try_enrol(&app, "task-1", launch(false)).await;
    assert_eq!((response.status, &response.json()["token_type"]), (200, &json!("DPoP")));
}

#[tokio::test]
async fn off_rejects_requests_for_binding() {
    let broker = Broker::start_with(&[("AA_SENDER_CONSTRAINED", "off")]).await;
    let admin = broker.admin_token().await;
    let mut body = launch(true);
    body["agent_name"] = json!("a test");
    let response = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&body).await;
    response.refused_for(400, "invalid_request", "sender_constrained");
    let app = json!({"name": "desk", "scopes": [SCOPE], "sender_constrained": true});
    let response = broker.post("/v1/admin/apps").bearer(&admin).json(&app).await;
    response.refused_for(400, "invalid_request", "sender_constrained");
    let registration = broker.registration(&admin, &[SCOPE]).await;
    let bound = registration.clone().with("sender_constrained", json!(true));
    let response = broker.post("/v1/register").json(&bound.0).await;
    response.refused_for(400, "invalid_request", "sender_constrained");
    assert_eq!(broker.post("/v1/register").json(&registration.0).await.status, 200, "the refusal consumed nothing");
}

#[tokio::test]
async fn apps_and_launch_tokens_show_binding() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = json!({"name": "desk", "scopes": [SCOPE], "sender_constrained": true});
    let created = broker.post("/v1/admin/apps").bearer(&admin).json(&app).await.json();
    assert_eq!(created["sender_constrained"], json!(true));
    let credentials = json!({"client_id": created["client_id"], "client_secret": created["client_secret"]});
    let token = broker.post("/v1/app/auth").json(&credentials).await.json();
    let body = json!({"agent_name": "a test", "allowed_scope": [SCOPE]});
    let issued = broker.post("/v1/app/launch-tokens").bearer(token["access_token"].as_str().unwrap()).json(&body).await;
    assert_eq!(issued.json()["policy"]["sender_constrained"], json!(true));
    let listed = broker.get("/v1/admin/launch-tokens").bearer(&admin).await.json();
    assert_eq!(listed["launch_tokens"][0]["sender_constrained"], json!(true));

    let path = format!("/v1/admin/apps/{}", created["app_id"].as_str().unwrap());
    let change = json!({"sender_constrained": false});
    let changed = broker.request(http::Method::PUT, &path).bearer(&admin).json(&change).await;
    changed.refused_for(400, "invalid_request", "sender_constrained");
    assert_eq!(broker.get(&path).bearer(&admin).await.json()["sender_constrained"], json!(true));
}

#[tokio::test]
async fn external_url_replaces_address_of_listener_in_proofs() {
    let broker = Broker::start_with(&[("AA_EXTERNAL_URL", "https://broker.example/auth,http://10.0.0.7:8080")]).await;
    let agent = bound_agent(&broker, &broker.admin_token().await).await;
    let renew = "/v1/token/renew";
    let local = format!("{}{renew}", broker.url);
    for wrong in [local.as_str(), "https://broker.example/v1/token/renew", "http://10.0.0.7/v1/token/renew"] {
        assert_challenge(&agent.send_as(&broker, renew, wrong, None).await, INVALID_PROOF);
    }
    let external = "https://broker.example/auth/v1/token/renew";
    assert_eq!(agent.send_as(&broker, renew, external, None).await.status, 200);
}

#[tokio::test]
async fn audits_and_counts_bound_token_in_wrong_hands() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = bound_agent(&broker, &admin).await;
    broker.renew(&agent.token).await.problem(401, "unauthorized");
    let metrics = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    assert!(metrics.contains("agentwrit_proofs_rejected_total{reason=\"proof_required\"} 1\n"), "{metrics}");
    let path = "/v1/audit/events?event_type=token_auth_failed&outcome=denied";
    let events = broker.get(path).bearer(&admin).await.json();
    let event = &events["events"][0];
    assert_eq!(event["agent_id"], json!(agent.id));
    assert!(event["detail"].as_str().unwrap().contains("reason=proof_required"), "{event}");
}

/// A stolen token alone: what a log, a prompt or a queue shows.
#[tokio::test]
async fn stolen_bound_token_does_nothing() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = bound_agent(&broker, &admin).await;
    let accomplice = DpopAgent::register(&broker, &admin, "task-1", launch(false)).await;
    let to = Agent { id: accomplice.id.clone(), token: accomplice.token.clone() };
    let stolen = accomplice.with_token(&agent.token);
    for status in [
        broker.renew(&agent.token).await.status,
        broker.release(&agent.token).await.status,
        broker.delegate(&agent.token, &to, &[SCOPE]).await.status,
        stolen.send(&broker, "/v1/token/renew", None).await.status,
        stolen.send(&broker, "/v1/token/release", None).await.status,
        stolen.send(&broker, "/v1/delegate", Some(&json!({"delegate_to": to.id, "scope": [SCOPE]}))).await.status,
    ] {
        assert_eq!(status, 401);
    }
    // Claims that a thief changes are not signed.
    let mut parts: Vec<String> = agent.token.split('.').map(str::to_owned).collect();
    let mut claims = payload(&agent.token);
    claims.as_object_mut().unwrap().remove("cnf");
    parts[1] = BASE64URL_NOPAD.encode(claims.to_string().as_bytes());
    assert_eq!(broker.renew(&parts.join(".")).await.status, 401);
    assert!(is_valid(&broker, &agent.token).await);
}
