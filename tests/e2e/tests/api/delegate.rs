//! `POST /v1/delegate`

use agentwrit_e2e::{Agent, Broker, Field, jti, pattern, payload, until_expired};
use agentwrit_verify::{KeySet, Verifier};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/delegate";

async fn agents<const N: usize>(broker: &Broker, admin: &str, scopes: &[&str]) -> [Agent; N] {
    let mut agents = Vec::new();
    for number in 0..N {
        let task = format!("task-{number}");
        agents.push(broker.enrol(admin, &task, json!({"allowed_scope": scopes})).await);
    }
    agents.try_into().unwrap()
}

fn record(token: &str, delegate: &Agent) -> Value {
    let claims = payload(token);
    json!({
        "agent": claims["sub"], "scope": claims["scope"], "delegated_at": "$time", "delegate": delegate.id,
        "sid": claims["sid"], "expires_at": "$time", "signature": "$hex(128)",
    })
}

#[tokio::test]
async fn issues_narrower_shorter_token_to_delegate() {
    let broker = Broker::start_with(&[("AA_AUDIENCE", "https://api.example")]).await;
    let admin = broker.admin_token().await;
    let [from, to] = agents(&broker, &admin, &["read:data:*", "write:data:y"]).await;
    let body = json!({"delegate_to": to.id, "scope": ["write:data:y", "read:data:x"]});
    let expected = json!({"access_token": "$jwt", "expires_in": 60, "delegation_chain": [record(&from.token, &to)]});
    let answer = broker.post(PATH).bearer(&from.token).json(&body).await.expect(200, expected);

    let token = answer["access_token"].as_str().unwrap();
    let claims = payload(token);
    let (delegator, issued_at) = (payload(&from.token), claims["iat"].as_u64().unwrap());
    let expected = json!({
        "iss": "https://agentwrit.local", "sub": to.id, "aud": ["https://api.example"], "exp": issued_at + 60,
        "nbf": issued_at, "iat": "$uint", "jti": "$hex(32)", "sid": claims["jti"],
        "scope": ["write:data:y", "read:data:x"], "task_id": delegator["task_id"], "orch_id": delegator["orch_id"],
        "delegation_chain": answer["delegation_chain"], "chain_hash": "$hex(64)",
    });
    pattern::compare(&expected, &claims).unwrap();
    assert!(broker.accepts(token).await);
    assert!(broker.accepts(&from.token).await && broker.accepts(&to.token).await, "their own tokens stay");
}

#[tokio::test]
async fn chain_verifies_offline_against_published_keys() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b, c, d] = agents(&broker, &admin, &["read:data:*"]).await;
    let first = broker.delegated(&a.token, &b, &["read:data:*"]).await;
    let second = broker.delegated(&first, &c, &["read:data:x"]).await;
    let renewed = broker.renewed(&second).await;
    let third = broker.delegated(&renewed, &d, &["read:data:x"]).await;
    let keys = KeySet::from_jwks(&broker.get("/.well-known/jwks.json").await.body).unwrap();
    let issuer = payload(&third)["iss"].as_str().unwrap().to_owned();
    drop(broker); // no request to the broker

    let verifier = Verifier::builder().issuer(issuer).keys(keys).without_revocations().build();
    let claims = verifier.verify(&third).unwrap();
    let hops: Vec<(&str, &str)> =
        claims.delegation_chain().iter().map(|hop| (hop.agent.as_str(), hop.delegate.as_str())).collect();
    assert_eq!(hops, [(&*a.id, &*b.id), (&*b.id, &*c.id), (&*c.id, &*d.id)]);
    assert_eq!(claims.delegation_chain()[2].sid.to_string(), payload(&second)["sid"].as_str().unwrap());
    assert_eq!(payload(&third)["task_id"], "task-0", "the whole chain works for the root's task");
    for token in [&first, &second, &renewed] {
        verifier.verify(token).unwrap();
    }
}

#[tokio::test]
async fn clamps_lifetime_to_delegator_and_ceiling() {
    let broker = Broker::start_with(&[("AA_MAX_TTL", "200")]).await;
    let admin = broker.admin_token().await;
    let launch = |ttl| json!({"allowed_scope": ["read:data:x"], "max_ttl": ttl});
    let short = broker.enrol(&admin, "t", launch(100)).await;
    let long = broker.enrol(&admin, "t", launch(200)).await;
    for (from, to, ttl, most) in [(&short, &long, 86400, 100), (&short, &long, 1, 1), (&long, &short, 86400, 200)] {
        let body = json!({"delegate_to": to.id, "scope": ["read:data:x"], "ttl": ttl});
        let answer = broker.post(PATH).bearer(&from.token).json(&body).await.json();
        let claims = payload(answer["access_token"].as_str().unwrap());
        let lives = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!(lives <= most && claims["exp"].as_u64() <= payload(&from.token)["exp"].as_u64(), "{lives} {most}");
        assert_eq!(answer["expires_in"], lives);
    }
}

#[tokio::test]
async fn checks_each_member() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [from, to] = agents(&broker, &admin, &["read:data:x"]).await;
    let valid = json!({"delegate_to": to.id, "scope": ["read:data:x"], "ttl": 60});
    let rows = broker.stored_rows();
    let fields = [Field::Text("delegate_to"), Field::Scopes("scope"), Field::OptionalNumber("ttl")];
    for broken in fields.iter().flat_map(|field| field.broken(&valid)) {
        let answer = broker.post(PATH).bearer(&from.token).json(&broken.body).await;
        assert_eq!(answer.status, 400, "{}", broken.why);
        answer.refused_for(400, "invalid_request", broken.field);
    }
    let send = |field: &str, value: Value| {
        let mut body = valid.clone();
        body[field] = value;
        broker.post(PATH).bearer(&from.token).json(&body).into_future()
    };
    for id in ["admin", "app:app-desk-0a1b2c", "spiffe://agentwrit.local/agent/o/t", &to.id.to_uppercase()] {
        send("delegate_to", json!(id)).await.refused_for(400, "invalid_request", "delegate_to");
    }
    for ttl in [0, -1, i64::MIN] {
        send("ttl", json!(ttl)).await.refused_for(400, "invalid_ttl", "ttl");
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
    assert_eq!(broker.post(PATH).bearer(&from.token).json(&valid).await.status, 200);
}

#[tokio::test]
async fn rejects_delegation_by_apps_and_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let [to] = agents(&broker, &admin, &["read:data:x"]).await;
    for token in [&admin, &broker.app_token(&app).await] {
        broker.delegate(token, &to, &["read:data:x"]).await.problem(403, "insufficient_scope");
    }
    let answer = broker.post(PATH).json(&json!({"delegate_to": to.id, "scope": ["read:data:x"]})).await;
    answer.problem(401, "unauthorized");
}

#[tokio::test]
async fn rejects_wider_scope() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [from, to] = agents(&broker, &admin, &["read:data:x", "write:data:*"]).await;
    let rows = broker.stored_rows();
    for scopes in [
        &["read:data:*"][..],
        &["read:data:y"],
        &["Read:data:x"],
        &["write:other:x"],
        &["read:data:x", "delete:data:x"],
    ] {
        let answer = broker.delegate(&from.token, &to, scopes).await;
        answer.refused(403, "scope_violation", "delegated scope exceeds delegator scope");
        assert_eq!(answer.header("www-authenticate"), None, "another token would not help");
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
    let narrowed = broker.delegated(&from.token, &to, &["write:data:y"]).await;
    broker.delegate(&narrowed, &from, &["write:data:*"]).await.problem(403, "scope_violation");
}

#[tokio::test]
async fn rejects_sixth_hop() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [a, b] = agents(&broker, &admin, &["read:data:x"]).await;
    let mut token = a.token.clone();
    for hop in 1..=5 {
        token = broker.delegated(&token, if hop % 2 == 0 { &a } else { &b }, &["read:data:x"]).await;
        assert_eq!(payload(&token)["delegation_chain"].as_array().unwrap().len(), hop);
    }
    let answer = broker.delegate(&token, &a, &["read:data:x"]).await;
    answer.refused(403, "scope_violation", "delegation depth limit exceeded");
    let renewed = broker.renewed(&token).await;
    broker.delegate(&renewed, &a, &["read:data:x"]).await.problem(403, "scope_violation");
}

#[tokio::test]
async fn rejects_delegate_that_can_hold_no_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [from, released, revoked] = agents(&broker, &admin, &["read:data:x"]).await;
    let expired = broker.enrol(&admin, "t", json!({"allowed_scope": ["read:data:x"], "max_ttl": 1})).await;
    let unknown = Agent { id: "spiffe://agentwrit.local/agent/o/t/0123456789abcdef".to_owned(), ..from.clone() };
    let foreign = Agent { id: released.id.replace("agentwrit.local", "elsewhere.local"), ..from.clone() };
    assert_eq!(broker.release(&released.token).await.status, 204);
    assert_eq!(broker.revoked(&admin, "agent", &revoked.id).await, 1);
    until_expired(&expired.token).await;
    for to in [&revoked, &expired, &unknown, &foreign] {
        broker.delegate(&from.token, to, &["read:data:x"]).await.refused(404, "not_found", "delegate agent not found");
    }
    assert!(broker.accepts(&broker.delegated(&from.token, &released, &["read:data:x"]).await).await);
}

#[tokio::test]
async fn rejects_ended_delegator_with_401() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [released, revoked, to] = agents(&broker, &admin, &["read:data:x"]).await;
    assert_eq!(broker.release(&released.token).await.status, 204);
    assert_eq!(broker.revoked(&admin, "agent", &revoked.id).await, 1);
    for from in [&released, &revoked] {
        let answer = broker.delegate(&from.token, &to, &["read:data:x"]).await;
        answer.refused(401, "unauthorized", "token verification failed");
    }
}

#[tokio::test]
async fn applies_current_ceiling_of_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*", "write:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let launch = json!({"allowed_scope": ["read:data:x", "write:data:x"]});
    let from = broker.enrol(&app_token, "t", launch.clone()).await;
    let to = broker.enrol(&app_token, "t", launch).await;
    let path = format!("/v1/admin/apps/{}", app.app_id);
    let narrow = json!({"scopes": ["read:data:*"]});
    assert_eq!(broker.request(Method::PUT, &path).bearer(&admin).json(&narrow).await.status, 200);
    let answer = broker.delegate(&from.token, &to, &["write:data:x"]).await;
    answer.refused(403, "scope_violation", "requested scopes exceed app ceiling");
    assert_eq!(broker.delegate(&from.token, &to, &["read:data:x"]).await.status, 200, "what still fits is fine");

    assert_eq!(broker.request(Method::DELETE, &path).bearer(&admin).await.status, 200);
    broker.delegate(&from.token, &to, &["read:data:x"]).await.problem(403, "scope_violation");
}

#[tokio::test]
async fn rejects_delegation_whose_token_exceeds_size_limit() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let scopes: Vec<String> = (0..20).map(|number| format!("read:data:{number:0>80}")).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let [a, b] = agents(&broker, &admin, &scopes).await;
    let mut token = a.token.clone();
    for hop in 1..=5 {
        let rows = broker.stored_rows();
        let answer = broker.delegate(&token, if hop % 2 == 0 { &a } else { &b }, &scopes).await;
        if answer.status == 400 {
            answer.refused_for(400, "invalid_request", "scope");
            assert_eq!(broker.stored_rows(), rows, "nothing was stored");
            return;
        }
        token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert!(token.len() <= 8192 && broker.accepts(&token).await);
    }
    panic!("five hops of 1,800 bytes of scopes fit into 8 KiB");
}

#[tokio::test]
async fn records_delegations_and_rejections() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [from, to] = agents(&broker, &admin, &["read:data:x"]).await;
    let token = broker.delegated(&from.token, &to, &["read:data:x"]).await;
    broker.delegate(&from.token, &to, &["read:data:*"]).await.problem(403, "scope_violation");

    let created = &broker.events(&admin, "event_type=delegation_created").await[0];
    assert_eq!((&created["agent_id"], &created["deleg_depth"]), (&json!(from.id), &json!(1)));
    assert_eq!(created["deleg_chain_hash"], payload(&token)["chain_hash"]);
    let detail = created["detail"].as_str().unwrap();
    assert!(detail.contains(&jti(&token)) && detail.contains(&to.id), "{detail}");
    let refused = &broker.events(&admin, "event_type=delegation_attenuation_violation").await[0];
    assert_eq!((&refused["agent_id"], &refused["outcome"]), (&json!(from.id), &json!("denied")));
    assert!(refused["detail"].as_str().unwrap().contains("scope=read:data:*"), "{refused}");
}
