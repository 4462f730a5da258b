//! `POST /v1/app/auth`

use agentwrit_e2e::{AppCredentials, Broker, Field, Response, pattern, payload};
use serde_json::{Value, json};

const PATH: &str = "/v1/app/auth";

async fn authenticate(broker: &Broker, client_id: &str, client_secret: &str) -> Response {
    broker.post(PATH).json(&json!({"client_id": client_id, "client_secret": client_secret})).await
}

#[tokio::test]
async fn issues_token_for_right_credentials() {
    let broker = Broker::start().await;
    let app = broker.create_app(&broker.admin_token().await, "invoice-desk", &["read:invoices:*"]).await;
    let body = authenticate(&broker, &app.client_id, &app.client_secret).await.expect(
        200,
        json!({
            "access_token": "$jwt", "expires_in": 1800, "token_type": "Bearer",
            "scopes": ["app:launch-tokens:*", "app:agents:*", "app:audit:read"],
        }),
    );

    let claims = payload(body["access_token"].as_str().unwrap());
    let issued_at = claims["iat"].as_u64().unwrap();
    let expected = json!({
        "iss": "https://agentwrit.local", "sub": format!("app:{}", app.app_id), "exp": issued_at + 1800,
        "nbf": issued_at, "iat": "$uint", "jti": "$hex(32)", "sid": claims["jti"],
        "scope": ["app:launch-tokens:*", "app:agents:*", "app:audit:read"],
    });
    pattern::compare(&expected, &claims).unwrap();
}

#[tokio::test]
async fn uses_token_ttl_of_app() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let body = json!({"name": "short-lived", "scopes": ["read:data:*"], "token_ttl": 60});
    let app = broker.post("/v1/admin/apps").bearer(&admin).json(&body).await.json();
    let text = |member: &str| app[member].as_str().unwrap().to_owned();
    let token = authenticate(&broker, &text("client_id"), &text("client_secret")).await.json();
    assert_eq!(token["expires_in"], 60);
}

#[tokio::test]
async fn answers_unknown_wrong_and_inactive_credentials_alike() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "active", &["read:data:*"]).await;
    let gone = broker.create_app(&admin, "inactive", &["read:data:*"]).await;
    let deleted = broker.request(http::Method::DELETE, &format!("/v1/admin/apps/{}", gone.app_id)).bearer(&admin).await;
    assert_eq!(deleted.status, 200);

    let unknown = AppCredentials { client_id: "no-0123456789ab".to_owned(), ..app.clone() };
    let wrong = AppCredentials { client_secret: "0".repeat(64), ..app.clone() };
    let crossed = AppCredentials { client_secret: gone.client_secret.clone(), ..app.clone() };
    let mut answers = Vec::new();
    for credentials in [unknown, wrong, crossed, gone] {
        let answer = authenticate(&broker, &credentials.client_id, &credentials.client_secret).await;
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), None, "this endpoint takes no Bearer token");
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        answers.push(body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[tokio::test]
async fn rejects_malformed_credentials_with_400() {
    let broker = Broker::start().await;
    let valid = json!({"client_id": "id-0123456789ab", "client_secret": "0".repeat(64)});
    for broken in Field::Text("client_id").broken(&valid) {
        broker.post(PATH).json(&broken.body).await.refused_for(400, "invalid_request", "client_id");
    }
    for (i, mut broken) in Field::Text("client_secret").broken(&valid).into_iter().enumerate() {
        broken.body["client_id"] = json!(format!("id-{i:012}")); // so that attempts do not add up
        broker.post(PATH).json(&broken.body).await.refused_for(400, "invalid_request", "client_secret");
    }
}

#[tokio::test]
async fn limits_attempts_per_client_id() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let one = broker.create_app(&admin, "one", &["read:data:*"]).await;
    let other = broker.create_app(&admin, "other", &["read:data:*"]).await;
    for _ in 0..3 {
        assert_eq!(authenticate(&broker, &one.client_id, "wrong").await.status, 401);
    }
    let answer = authenticate(&broker, &one.client_id, &one.client_secret).await;
    answer.problem(429, "rate_limited");
    let seconds: u64 = answer.header("retry-after").expect("says when").parse().unwrap();
    assert!((1..=6).contains(&seconds), "one in 6 s is let through, not after {seconds} s");

    assert_eq!(
        authenticate(&broker, &other.client_id, &other.client_secret).await.status,
        200,
        "others are not affected"
    );
}

#[tokio::test]
async fn limits_attempts_per_address_across_client_ids() {
    let broker = Broker::start().await;
    for attempt in 0..30 {
        let answer = authenticate(&broker, &format!("id-{attempt:012}"), "wrong").await;
        assert_eq!(answer.status, 401, "attempt {attempt}");
    }
    let mut statuses = Vec::new();
    for attempt in 30..40 {
        statuses.push(authenticate(&broker, &format!("id-{attempt:012}"), "wrong").await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}
