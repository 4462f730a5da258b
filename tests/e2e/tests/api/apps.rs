//! `/v1/admin/apps`

use agentwrit_e2e::{AppCredentials, Broker, Field, Response};
use http::Method;
use serde_json::{Value, json};

const PATH: &str = "/v1/admin/apps";

async fn create(broker: &Broker, admin: &str, body: &Value) -> Response {
    broker.post(PATH).bearer(admin).json(body).await
}

fn one(app: &AppCredentials) -> String {
    format!("{PATH}/{}", app.app_id)
}

fn record(app: &AppCredentials, name: &str, scopes: &[&str], token_ttl: u64) -> Value {
    json!({
        "app_id": app.app_id, "client_id": app.client_id, "name": name, "scopes": scopes, "token_ttl": token_ttl,
        "status": "active", "created_at": "$time", "updated_at": "$time",
    })
}

#[tokio::test]
async fn creates_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let body = json!({"name": "invoice-desk-2", "scopes": ["read:invoices:*", "write:notes:x", "read:invoices:*"]});
    let app = create(&broker, &admin, &body).await.expect(
        201,
        json!({
            "app_id": "$starts(app-invoice-desk-2-)", "client_id": "$sentence", "client_secret": "$hex(64)",
            "name": "invoice-desk-2", "scopes": ["read:invoices:*", "write:notes:x"], "token_ttl": 1800,
            "status": "active", "created_at": "$time", "updated_at": "$time",
        }),
    );
    agentwrit_verify::AppId::parse(app["app_id"].as_str().unwrap()).unwrap();
    let client_id = app["client_id"].as_str().unwrap();
    let (initials, suffix) = client_id.split_at(client_id.len() - 12);
    assert!(initials.starts_with("id2"), "{client_id}");
    assert!(suffix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{client_id}");
    assert!(!broker.files_hold(app["client_secret"].as_str().unwrap().as_bytes()), "a digest is kept, not the secret");
}

#[tokio::test]
async fn lists_and_reads_apps_without_secret() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    broker.get(PATH).bearer(&admin).await.expect(200, json!({"apps": [], "total": 0}));
    let a = broker.create_app(&admin, "aa", &["read:data:*"]).await;
    let b = broker.create_app(&admin, "bb", &["write:data:x"]).await;
    let (a_record, b_record) = (record(&a, "aa", &["read:data:*"], 1800), record(&b, "bb", &["write:data:x"], 1800));

    let list = json!({"apps": [a_record, b_record], "total": 2});
    broker.get(PATH).bearer(&admin).await.expect(200, list);
    broker.get(&one(&b)).bearer(&admin).await.expect(200, b_record);
}

#[tokio::test]
async fn updates_only_sent_members() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    for (change, scopes, ttl) in [
        (json!({"token_ttl": 60}), vec!["read:data:*"], 60),
        (json!({"scopes": ["read:data:x"]}), vec!["read:data:x"], 60),
        (
            json!({"scopes": ["read:data:y", "read:data:z"], "token_ttl": 86400}),
            vec!["read:data:y", "read:data:z"],
            86400,
        ),
    ] {
        let changed = broker.request(Method::PUT, &one(&app)).bearer(&admin).json(&change).await;
        changed.expect(200, record(&app, "desk", &scopes, ttl));
        broker.get(&one(&app)).bearer(&admin).await.expect(200, record(&app, "desk", &scopes, ttl));
    }
    let nothing = broker.request(Method::PUT, &one(&app)).bearer(&admin).json(&json!({})).await;
    nothing.problem(400, "invalid_request");
}

#[tokio::test]
async fn keeps_deregistered_app_listed_as_inactive() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let app_token = broker.app_token(&app).await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "ttl": 600});
    let launch = broker.post("/v1/app/launch-tokens").bearer(&app_token).json(&request).await.json();
    let launch_token = launch["launch_token"].as_str().unwrap();

    let removed = broker.request(Method::DELETE, &one(&app)).bearer(&admin).await;
    removed.expect(200, json!({"app_id": app.app_id, "status": "inactive", "deregistered_at": "$time"}));

    let kept = broker.get(&one(&app)).bearer(&admin).await;
    assert_eq!((kept.status, &kept.json()["status"]), (200, &json!("inactive")));
    let refused = broker.post("/v1/app/launch-tokens").bearer(&app_token).json(&request).await;
    refused.problem(401, "unauthorized");
    let registration = agentwrit_e2e::Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
    broker.post("/v1/register").json(&registration.0).await.problem(401, "unauthorized");
    let validated = broker.post("/v1/token/validate").json(&json!({"token": app_token})).await;
    assert_eq!(validated.json()["valid"], false);

    // The name is free again.
    assert_ne!(broker.create_app(&admin, "desk", &["read:data:*"]).await.app_id, app.app_id);
}

#[tokio::test]
async fn rejects_name_of_active_app_with_409() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let rows = broker.stored_rows();
    let again = create(&broker, &admin, &json!({"name": "desk", "scopes": ["read:data:*"]})).await;
    again.problem(409, "conflict");
    assert_eq!(broker.stored_rows(), rows);
}

#[tokio::test]
async fn answers_404_for_unknown_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for id in ["app-unknown-0a1b2c", "nonsense", "app-unknown-0A1B2C", "a%2fb", "a%00b"] {
        let path = format!("{PATH}/{id}");
        broker.get(&path).bearer(&admin).await.problem(404, "not_found");
        broker.request(Method::DELETE, &path).bearer(&admin).await.problem(404, "not_found");
        let change = json!({"token_ttl": 60});
        broker.request(Method::PUT, &path).bearer(&admin).json(&change).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn checks_each_member_of_new_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let valid = json!({"name": "desk", "scopes": ["read:data:*"], "token_ttl": 1800});
    let rows = broker.stored_rows();
    for field in [Field::Text("name"), Field::Scopes("scopes"), Field::OptionalNumber("token_ttl")] {
        for broken in field.broken(&valid) {
            let answer = create(&broker, &admin, &broken.body).await;
            assert_eq!(answer.status, 400, "{}", broken.why);
            answer.refused_for(400, "invalid_request", broken.field);
        }
    }
    for name in
        ["a", "A", "Desk", "1desk", "-desk", "desk-", "de--sk", "de_sk", "de sk", "désk", "desk\n", &"a".repeat(65)]
    {
        let answer = create(&broker, &admin, &json!({"name": name, "scopes": ["read:data:*"]})).await;
        answer.refused_for(400, "invalid_request", "name");
    }
    for ttl in [json!(0), json!(-1), json!(59), json!(86401), json!(i64::MAX)] {
        let answer =
            create(&broker, &admin, &json!({"name": "desk", "scopes": ["read:data:*"], "token_ttl": ttl})).await;
        answer.refused_for(400, "invalid_ttl", "token_ttl");
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
    broker.get(PATH).bearer(&admin).await.expect(200, json!({"apps": [], "total": 0}));
    assert_eq!(create(&broker, &admin, &valid).await.status, 201);
}

#[tokio::test]
async fn checks_each_member_of_update() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let valid = json!({"scopes": ["read:data:x"], "token_ttl": 60});
    for field in [Field::OptionalScopes("scopes"), Field::OptionalNumber("token_ttl")] {
        for broken in field.broken(&valid) {
            let answer = broker.request(Method::PUT, &one(&app)).bearer(&admin).json(&broken.body).await;
            assert_eq!(answer.status, 400, "{}", broken.why);
            answer.refused_for(400, "invalid_request", broken.field);
        }
    }
    for ttl in [0, -1, 59, 86401] {
        let change = json!({"token_ttl": ttl});
        let answer = broker.request(Method::PUT, &one(&app)).bearer(&admin).json(&change).await;
        answer.refused_for(400, "invalid_ttl", "token_ttl");
    }
    broker.get(&one(&app)).bearer(&admin).await.expect(200, record(&app, "desk", &["read:data:*"], 1800));
}

#[tokio::test]
async fn accepts_values_at_their_limits() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let longest = format!("read:data:{}", "x".repeat(256 - "read:data:".len()));
    let most: Vec<String> = (0..63).map(|i| format!("read:data:{i}")).chain([longest]).collect();
    for (name, ttl) in [("ab", 60), ("a".repeat(64).as_str(), 86400)] {
        let answer = create(&broker, &admin, &json!({"name": name, "scopes": most, "token_ttl": ttl})).await;
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["scopes"].as_array().unwrap().len(), 64);
    }
}

#[tokio::test]
async fn requires_operator() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    let body = json!({"name": "other", "scopes": ["read:data:*"]});
    for token in [broker.app_token(&app).await, agent] {
        for (method, path) in [
            (Method::POST, PATH.to_owned()),
            (Method::GET, PATH.to_owned()),
            (Method::GET, one(&app)),
            (Method::PUT, one(&app)),
            (Method::DELETE, one(&app)),
        ] {
            let answer = broker.request(method.clone(), &path).bearer(&token).json(&body).await;
            answer.problem(403, "insufficient_scope");
            assert_eq!(
                answer.header("www-authenticate"),
                Some(r#"Bearer realm="agentwrit", error="insufficient_scope", scope="admin:launch-tokens:*""#)
            );
            let unknown = broker.request(method, &path).json(&body).await;
            unknown.problem(401, "unauthorized");
            assert_eq!(unknown.header("www-authenticate"), Some(r#"Bearer realm="agentwrit""#));
        }
    }
    assert_eq!(broker.get(PATH).bearer(&admin).await.json()["total"], 1);
}
