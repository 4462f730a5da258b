//! Identifiers that contain colons, as ARNs and URNs do: granted, narrowed, delegated, renewed and matched by a route.

use agentwrit_e2e::{Broker, payload};
use agentwrit_tower::RequireScope;
use agentwrit_verify::remote::Follower;
use axum::{Router, body::Body, extract::Path, routing::get};
use http::{Request, StatusCode};
use serde_json::json;
use tower::ServiceExt;

const LOGS: &str = "read:bucket:arn:aws:s3:::logs";

#[tokio::test]
async fn accepts_identifier_with_colons_from_ceiling_to_delegate() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "storage", &["read:bucket:*"]).await;
    let app_token = broker.app_token(&app).await;
    let agent = broker.enrol(&app_token, "one", json!({"allowed_scope": [LOGS]})).await;
    assert_eq!(payload(&agent.token)["scope"], json!([LOGS]));
    let renewed = broker.renewed(&agent.token).await;
    let delegate = broker.enrol(&app_token, "two", json!({"allowed_scope": [LOGS]})).await;
    let delegated = broker.delegated(&renewed, &delegate, &[LOGS]).await;
    assert_eq!(payload(&delegated)["scope"], json!([LOGS]));
    let run = broker.awrit(&["--json", "app", "register", "--name", "logs", "--scopes", LOGS]).await;
    assert_eq!(run.json()["scopes"], json!([LOGS]));
}

#[tokio::test]
async fn rejects_wider_scope_when_identifiers_share_text_before_a_colon() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "storage", &[LOGS]).await;
    let app_token = broker.app_token(&app).await;
    let agent = broker.enrol(&app_token, "one", json!({"allowed_scope": [LOGS]})).await;
    let other = broker.enrol(&admin, "two", json!({"allowed_scope": ["read:bucket:*"]})).await;
    for wider in ["read:bucket:arn", "read:bucket:logs", "read:bucket:arn:aws:s3:::logs:2026", "read:bucket:*"] {
        let launch = json!({"agent_name": "a", "allowed_scope": [wider]});
        let answer = broker.post("/v1/app/launch-tokens").bearer(&app_token).json(&launch).await;
        assert_eq!((answer.status, &answer.json()["error_code"]), (403, &json!("scope_violation")), "{wider}");
        let answer = broker.delegate(&agent.token, &other, &[wider]).await;
        assert_eq!((answer.status, &answer.json()["error_code"]), (403, &json!("scope_violation")), "{wider}");
    }
    for malformed in ["read:bucket:arn:*", "read:bucket:*:logs", "read::bucket:logs"] {
        let launch = json!({"agent_name": "a", "allowed_scope": [malformed]});
        let answer = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&launch).await;
        let refused = (answer.status, answer.json()["error_code"].clone());
        assert_eq!(refused, (400, json!("invalid_request")), "{malformed}");
    }
}

#[tokio::test]
async fn route_matches_path_parameter_with_colons_exactly() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = broker.enrol(&admin, "one", json!({"allowed_scope": [LOGS]})).await;
    let follower = Follower::builder(&broker.url).issuer("https://agentwrit.local").start().await.unwrap();
    let layer = RequireScope::new("read:bucket:{bucket}").verifier(follower.verifier().build());
    let handler = get(|Path(bucket): Path<String>| async { bucket });
    let app = Router::new().route("/buckets/{bucket}", handler).layer(layer);
    for (bucket, status) in [
        ("arn:aws:s3:::logs", StatusCode::OK),
        ("arn%3Aaws%3As3%3A%3A%3Alogs", StatusCode::OK),
        ("arn:aws:s3:::other", StatusCode::FORBIDDEN),
        ("arn", StatusCode::FORBIDDEN),
        ("logs", StatusCode::FORBIDDEN),
        ("arn:aws:s3:::*", StatusCode::BAD_REQUEST),
    ] {
        let request =
            Request::get(format!("/buckets/{bucket}")).header("authorization", format!("Bearer {}", agent.token));
        let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{bucket}");
    }
}
