//! `POST /v1/revoke`

use agentwrit_e2e::{Agent, Broker, jti, next_second};
use serde_json::{Value, json};

const PATH: &str = "/v1/revoke";

async fn enrol(broker: &Broker, admin: &str, task: &str) -> Agent {
    broker.enrol(admin, task, json!({"allowed_scope": ["read:data:*"]})).await
}

/// A → B → C, with the tokens that B and C were handed.
struct Chain {
    a: Agent,
    b: Agent,
    c: Agent,
    to_b: String,
    to_c: String,
}

async fn chain(broker: &Broker, admin: &str) -> Chain {
    let a = enrol(broker, admin, "task-a").await;
    let b = enrol(broker, admin, "task-b").await;
    let c = enrol(broker, admin, "task-c").await;
    let to_b = broker.delegated(&a.token, &b, &["read:data:*"]).await;
    let to_c = broker.delegated(&to_b, &c, &["read:data:x"]).await;
    Chain { a, b, c, to_b, to_c }
}

impl Chain {
    /// Status of the tokens: those of A, B and C, then those delegated to B and C.
    async fn alive(&self, broker: &Broker) -> [bool; 5] {
        let mut alive = [false; 5];
        for (alive, token) in
            alive.iter_mut().zip([&self.a.token, &self.b.token, &self.c.token, &self.to_b, &self.to_c])
        {
            *alive = broker.accepts(token).await;
        }
        alive
    }
}

async fn dry_run(broker: &Broker, admin: &str, level: &str, target: &str) -> Value {
    let body = json!({"level": level, "target": target, "dry_run": true});
    broker.post(PATH).bearer(admin).json(&body).await.expect(
        200,
        json!({
            "revoked": "$bool", "level": level, "target": target, "count": "$uint", "cursor": "$cursor",
            "dry_run": true, "agents": "$uint", "tasks": "$uint",
        }),
    )
}

#[tokio::test]
async fn each_level_ends_exactly_its_target() {
    let (yes, no) = (true, false);
    for (level, target, count, alive) in [
        ("token", "of a", 3, [no, yes, yes, no, no]),
        ("token", "of b", 1, [yes, no, yes, yes, yes]),
        ("token", "to b", 2, [yes, yes, yes, no, no]),
        ("token", "to c", 1, [yes, yes, yes, yes, no]),
        ("agent", "a", 3, [no, yes, yes, no, no]),
        ("agent", "b", 3, [yes, no, yes, no, no]),
        ("agent", "c", 2, [yes, yes, no, yes, no]),
        ("task", "task-a", 3, [no, yes, yes, no, no]),
        ("task", "task-b", 1, [yes, no, yes, yes, yes]),
        ("chain", "a", 3, [no, yes, yes, no, no]),
        ("chain", "b", 1, [yes, no, yes, yes, yes]),
    ] {
        let broker = Broker::start().await;
        let admin = broker.admin_token().await;
        let chain = chain(&broker, &admin).await;
        assert_eq!(chain.alive(&broker).await, [true; 5]);
        let name = match target {
            "of a" => jti(&chain.a.token),
            "of b" => jti(&chain.b.token),
            "to b" => jti(&chain.to_b),
            "to c" => jti(&chain.to_c),
            "a" => chain.a.id.clone(),
            "b" => chain.b.id.clone(),
            "c" => chain.c.id.clone(),
            task => task.to_owned(),
        };
        let rows = broker.stored_rows();
        let counted = dry_run(&broker, &admin, level, &name).await;
        assert_eq!((counted["revoked"].clone(), counted["count"].clone()), (json!(true), json!(count)));
        assert_eq!((chain.alive(&broker).await, broker.stored_rows()), ([true; 5], rows), "{level} {target}");
        let done = json!({"revoked": true, "level": level, "target": name, "count": count, "cursor": "$cursor"});
        broker.revoke(&admin, level, &name).await.expect(200, done);
        assert_eq!(chain.alive(&broker).await, alive, "{level} {target}");

        let done = json!({"revoked": true, "level": level, "target": name, "count": 0, "cursor": "$cursor"});
        broker.revoke(&admin, level, &name).await.expect(200, done);
        let broker = Broker::start_in(broker.kill().await, &[]).await;
        assert_eq!(chain.alive(&broker).await, alive, "{level} {target} after a crash");
    }
}

#[tokio::test]
async fn revoked_token_ends_its_session() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, "t").await;
    let delegate = enrol(&broker, &admin, "t").await;
    let second = broker.renewed(&agent.token).await;
    let third = broker.renewed(&second).await;
    let handed = broker.delegated(&third, &delegate, &["read:data:x"]).await;
    let handed = broker.renewed(&handed).await;
    // Whichever of its names is known: the leaked one, the first, the latest.
    assert_eq!(broker.revoked(&admin, "token", &jti(&second)).await, 2);
    for token in [&agent.token, &second, &third, &handed] {
        assert!(!broker.accepts(token).await);
    }
    assert!(broker.accepts(&delegate.token).await);
    broker.renew(&third).await.refused(401, "unauthorized", "token renewal failed");
}

#[tokio::test]
async fn task_chain_app_and_operator_get_new_tokens_in_next_second() {
    let broker = Broker::start().await;
    let mut admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let before = [enrol(&broker, &admin, "task-9").await.token, broker.app_token(&app).await];
    assert_eq!(broker.revoked(&admin, "task", "task-9").await, 1);
    assert_eq!(broker.revoked(&admin, "agent", &format!("app:{}", app.app_id)).await, 1);
    assert_eq!(broker.revoked(&admin, "agent", "admin").await, 1);
    assert!(!broker.accepts(&admin).await, "the operator's own token too");
    next_second().await;

    admin = broker.admin_token().await;
    let again = [enrol(&broker, &admin, "task-9").await.token, broker.app_token(&app).await];
    for (old, new) in before.iter().zip(&again) {
        assert!(!broker.accepts(old).await && broker.accepts(new).await);
    }
    let renewed = [broker.renewed(&again[0]).await, broker.renewed(&again[1]).await];
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    for (old, new) in before.iter().zip(&renewed) {
        assert!(!broker.accepts(old).await && broker.accepts(new).await, "after a crash");
    }
}

#[tokio::test]
async fn revoked_agent_gets_no_further_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let chain = chain(&broker, &admin).await;
    // Without live tokens it still gets its bar.
    assert_eq!(broker.release(&chain.c.token).await.status, 204);
    assert_eq!(broker.release(&chain.to_c).await.status, 204);
    let done = json!({"revoked": true, "level": "agent", "target": chain.c.id, "count": 0, "cursor": "$cursor"});
    broker.revoke(&admin, "agent", &chain.c.id).await.expect(200, done);
    next_second().await;
    let refused = broker.delegate(&chain.a.token, &chain.c, &["read:data:x"]).await;
    refused.refused(404, "not_found", "delegate agent not found");

    assert_eq!(broker.revoked(&admin, "agent", &chain.b.id).await, 2);
    next_second().await;
    broker.renew(&chain.b.token).await.problem(401, "unauthorized");
    broker.renew(&chain.to_b).await.problem(401, "unauthorized");
    broker.delegate(&chain.a.token, &chain.b, &["read:data:x"]).await.problem(404, "not_found");
}

#[tokio::test]
async fn reports_target_without_match() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, "task-1").await;
    let rows = broker.stored_rows();
    let unknown = "spiffe://agentwrit.local/agent/orch-1/task-1/0123456789abcdef";
    for (level, target) in [
        ("token", "0".repeat(32).as_str()),
        ("token", &jti(&agent.token).to_uppercase()),
        ("token", &agent.id),
        ("agent", unknown),
        ("agent", "app:app-unknown-0a1b2c"),
        ("agent", &agent.id.replace("task-1", "task-2")),
        ("agent", "Admin"),
        ("task", "task-2"),
        ("task", "TASK-1"),
        ("task", "orch-1"),
        ("chain", unknown),
        ("chain", "nonsense"),
    ] {
        let nothing = json!({"revoked": false, "level": level, "target": target, "count": 0, "cursor": "$cursor"});
        broker.revoke(&admin, level, target).await.expect(200, nothing);
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was recorded but the attempts");
    let attempts = broker.events(&admin, "event_type=token_revoked").await;
    assert_eq!(attempts.len(), 12);
    for attempt in attempts {
        assert_eq!((&attempt["agent_id"], &attempt["outcome"]), (&json!("admin"), &json!("denied")));
    }
    assert!(broker.accepts(&agent.token).await);
}

#[tokio::test]
async fn checks_each_member() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let valid = json!({"level": "task", "target": "task-1", "reason": "a drill"});
    let rows = broker.stored_rows();
    let wrong = |field: &'static str, values: &[Value]| -> Vec<(&'static str, Value)> {
        values.iter().map(|value| (field, value.clone())).collect()
    };
    let texts = [json!(""), json!(7), json!(null), json!(["a"]), json!({}), json!("a".repeat(5000))];
    let levels = [json!("tokens"), json!("Token"), json!("session"), json!("issuer"), json!("s"), json!(" token")];
    let all = [wrong("level", &texts), wrong("level", &levels), wrong("target", &texts), wrong("reason", &texts)];
    // `null` for an optional member is absence.
    for (field, value) in all.concat().into_iter().filter(|(field, value)| *field != "reason" || !value.is_null()) {
        let mut body = valid.clone();
        body[field] = value;
        broker.post(PATH).bearer(&admin).json(&body).await.refused_for(400, "invalid_request", field);
    }
    let waits_for_nothing = json!({"level": "task", "target": "task-1", "dry_run": true, "wait": 0});
    broker.post(PATH).bearer(&admin).json(&waits_for_nothing).await.refused_for(400, "invalid_request", "wait");
    for field in ["level", "target"] {
        let mut body = valid.clone();
        body.as_object_mut().unwrap().remove(field);
        broker.post(PATH).bearer(&admin).json(&body).await.refused_for(400, "invalid_request", field);
    }
    assert_eq!(broker.stored_rows(), rows);
}

#[tokio::test]
async fn requires_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let agent = enrol(&broker, &admin, "task-1").await;
    for token in [&broker.app_token(&app).await, &agent.token] {
        let answer = broker.revoke(token, "task", "task-1").await;
        answer.problem(403, "insufficient_scope");
        let challenge = r#"Bearer realm="agentwrit", error="insufficient_scope", scope="admin:revoke:*""#;
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
    }
    let body = json!({"level": "task", "target": "task-1"});
    broker.post(PATH).json(&body).await.problem(401, "unauthorized");
    assert!(broker.accepts(&agent.token).await);
}

#[tokio::test]
async fn records_actor_address_and_reason() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = enrol(&broker, &admin, "task-1").await;
    let body = json!({"level": "agent", "target": agent.id, "reason": "key found in a log\nlevel=none"});
    assert_eq!(broker.post(PATH).bearer(&admin).json(&body).await.json()["count"], 1);
    let event = &broker.events(&admin, "event_type=token_revoked").await[0];
    assert_eq!((&event["agent_id"], &event["resource"]), (&json!("admin"), &json!(agent.id)));
    let detail = event["detail"].as_str().unwrap();
    for words in ["level=agent", "killed=1", r#"reason="key found in a log\u{a}level=none""#, "from=127.0.0.1"] {
        assert!(detail.contains(words), "{words}: {detail}");
    }
}
