//! `GET /v1/audit/events`

use agentwrit_e2e::{Broker, assert_whole_chain, pattern};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/audit/events";

/// A little of everything.
async fn busy_broker() -> (Broker, String) {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*", "write:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let launch = || json!({"allowed_scope": ["read:data:*"]});
    let a = broker.enrol(&app_token, "task-a", launch()).await;
    let b = broker.enrol(&app_token, "task-b", launch()).await;
    broker.delegate(&a.token, &b, &["write:data:x"]).await.problem(403, "scope_violation");
    let handed = broker.delegated(&a.token, &b, &["read:data:x"]).await;
    let renewed = broker.renewed(&handed).await;
    broker.release(&renewed).await;
    broker.renew(&renewed).await.problem(401, "unauthorized");
    broker.revoked(&admin, "agent", &a.id).await;
    let path = format!("/v1/admin/apps/{}", app.app_id);
    let narrow = json!({"scopes": ["read:data:*"], "token_ttl": 60});
    assert_eq!(broker.request(Method::PUT, &path).bearer(&admin).json(&narrow).await.status, 200);
    broker.renew(&b.token).await;
    broker.get("/v1/admin/apps").bearer(&app_token).await.problem(403, "insufficient_scope");
    assert_eq!(broker.request(Method::DELETE, &path).bearer(&admin).await.status, 200);
    broker.post("/v1/admin/auth").json(&json!({"secret": "wrong"})).await.problem(401, "unauthorized");
    (broker, admin)
}

#[tokio::test]
async fn hash_chain_is_recomputed_from_events_alone() {
    let (broker, admin) = busy_broker().await;
    let events = broker.events(&admin, "").await;
    assert!(events.len() > 15, "{events:#?}");
    assert_whole_chain(&events);
    let broker = Broker::start_in(broker.kill().await, &[]).await;
    let admin = broker.admin_token().await;
    let more = broker.events(&admin, "").await;
    assert!(more.len() > events.len());
    assert_eq!(more[..events.len()], events, "nothing that was shown is lost or changed");
    assert_whole_chain(&more);
}

#[tokio::test]
async fn events_are_well_formed_and_name_their_actor() {
    let (broker, admin) = busy_broker().await;
    for event in broker.events(&admin, "").await {
        let mut shape = json!({
            "id": "$starts(evt-)", "timestamp": "$sentence", "event_type": "$sentence", "detail": "$sentence",
            "outcome": event["outcome"], "hash": "$hex(64)", "prev_hash": "$hex(64)",
        });
        for optional in ["agent_id", "task_id", "orch_id", "resource", "deleg_chain_hash"] {
            if event.get(optional).is_some() {
                shape[optional] = json!("$sentence");
            }
        }
        if event.get("deleg_depth").is_some() {
            shape["deleg_depth"] = json!("$uint");
        }
        pattern::compare(&shape, &event).unwrap();
        assert!(matches!(event["outcome"].as_str(), Some("success" | "denied")));
        let detail = event["detail"].as_str().unwrap();
        assert!(event.get("agent_id").is_some() || detail.contains("from=127.0.0.1"), "{event}");
    }
}

/// Returns true if a filter must select an event.
type Filter<'a> = Box<dyn Fn(&Value) -> bool + 'a>;

#[tokio::test]
async fn filters_events() {
    let (broker, admin) = busy_broker().await;
    let all = broker.events(&admin, "").await;
    let a = all.iter().find(|event| event["task_id"] == "task-a").unwrap()["agent_id"].as_str().unwrap();
    let middle = all[all.len() / 2]["timestamp"].as_str().unwrap();
    let text = |event: &Value, member: &str| event[member].as_str().unwrap_or_default().to_owned();
    let before = |event: &Value| text(event, "timestamp").as_str() <= middle;
    let after = |event: &Value| text(event, "timestamp").as_str() >= middle;
    let is = |member: &'static str, value: &str| {
        let value = value.to_owned();
        move |event: &Value| event[member] == value.as_str()
    };
    let cases: Vec<(String, Filter<'_>)> = vec![
        (format!("agent_id={a}"), Box::new(is("agent_id", a))),
        ("agent_id=admin".into(), Box::new(is("agent_id", "admin"))),
        ("task_id=task-b".into(), Box::new(is("task_id", "task-b"))),
        ("event_type=agent_registered".into(), Box::new(is("event_type", "agent_registered"))),
        ("outcome=denied".into(), Box::new(is("outcome", "denied"))),
        ("outcome=success".into(), Box::new(is("outcome", "success"))),
        (format!("since={middle}"), Box::new(after)),
        (format!("until={middle}"), Box::new(before)),
        (format!("since={middle}&until={middle}"), Box::new(move |event: &Value| before(event) && after(event))),
        (
            format!("agent_id={a}&task_id=task-a&outcome=denied"),
            Box::new(|event: &Value| {
                is("agent_id", a)(event) && is("task_id", "task-a")(event) && is("outcome", "denied")(event)
            }),
        ),
        ("task_id=no-such-task".into(), Box::new(|_: &Value| false)),
        ("event_type=resource_accessed".into(), Box::new(|_: &Value| false)),
        ("since=2999-01-01T00:00:00Z".into(), Box::new(|_: &Value| false)),
        ("until=1999-01-01T00:00:00%2B01:00".into(), Box::new(|_: &Value| false)),
    ];
    for (query, selects) in cases {
        let expected: Vec<&Value> = all.iter().filter(|event| selects(event)).collect();
        let body = broker.get(&format!("{PATH}?{query}")).bearer(&admin).await.json();
        let found: Vec<&Value> = body["events"].as_array().unwrap().iter().collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(body["total"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn pages_by_offset_and_by_cursor_agree() {
    let (broker, admin) = busy_broker().await;
    let all = broker.events(&admin, "").await;
    let page = |query: String| broker.get(&format!("{PATH}?{query}")).bearer(&admin).into_future();
    let mut cursor = String::from("0");
    for start in (0..all.len()).step_by(7) {
        let expected = &all[start..all.len().min(start + 7)];
        let by_offset = page(format!("limit=7&offset={start}")).await.json();
        let by_cursor = page(format!("limit=7&cursor={cursor}")).await.json();
        for (body, offset) in [(&by_offset, start), (&by_cursor, 0)] {
            assert_eq!(body["events"].as_array().unwrap(), expected);
            let paging = (&body["total"], &body["limit"], &body["offset"]);
            assert_eq!(paging, (&json!(all.len()), &json!(7), &json!(offset)));
            assert_eq!(body.get("next_cursor").is_some(), start + 7 < all.len());
        }
        if let Some(next) = by_cursor["next_cursor"].as_str() {
            next.clone_into(&mut cursor);
        }
    }
    let beyond = page(format!("offset={}", all.len())).await.json();
    assert_eq!((&beyond["events"], beyond.get("next_cursor")), (&json!([]), None));
    for limit in ["1000", "1001", "0001000", "10000", "99999999999999999999999"] {
        assert_eq!(page(format!("limit={limit}")).await.json()["limit"], 1000, "{limit}");
    }
    assert_eq!(page(String::new()).await.json()["limit"], 100);
}

#[tokio::test]
async fn rejects_malformed_filter_with_400() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for (field, values) in [
        ("event_type", &["nonsense", "Agent_Registered", "", "agent_registered,token_issued"][..]),
        ("outcome", &["maybe", "Success", ""]),
        ("since", &["yesterday", "", "2026-01-01", "1767225600", "2026-13-01T00:00:00Z"]),
        ("until", &["tomorrow", "2026-01-01T00:00:00"]),
        ("limit", &["0", "000", "-1", "x", "", "1.5", "+1"]),
        ("offset", &["-1", "x", "", "18446744073709551616"]),
        ("cursor", &["-1", "x", "", "evt-000001"]),
        ("agent_id", &["", "Admin", "app:", "spiffe://agentwrit.local/", "spiffe://Agentwrit.local/agent", "%ff"]),
        ("task_id", &["", "..", "a/b", "%ff", &"x".repeat(129)]),
        ("agent", &["admin"]),
        ("order", &["desc"]),
    ] {
        for value in values {
            let answer = broker.get(&format!("{PATH}?{field}={value}")).bearer(&admin).await;
            answer.refused_for(400, "invalid_request", field);
        }
    }
    for query in ["limit=1&limit=2", "outcome=denied&outcome=success", "task_id=%ff", "%zz=1"] {
        broker.get(&format!("{PATH}?{query}")).bearer(&admin).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn reading_adds_no_event() {
    let (broker, admin) = busy_broker().await;
    let events = broker.events(&admin, "").await;
    let (rows, count) = (broker.stored_rows(), broker.audit_events().await);
    for query in ["", "?outcome=denied", "?offset=5", "?limit=1"] {
        assert_eq!(broker.get(&format!("{PATH}{query}")).bearer(&admin).await.status, 200);
    }
    assert_eq!((broker.stored_rows(), broker.audit_events().await), (rows, count));
    assert_eq!(count, events.len() as u64);
}

#[tokio::test]
async fn requires_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    for token in [&broker.app_token(&app).await, &agent] {
        broker.get(PATH).bearer(token).await.problem(403, "insufficient_scope");
    }
    broker.get(PATH).await.problem(401, "unauthorized");
}
