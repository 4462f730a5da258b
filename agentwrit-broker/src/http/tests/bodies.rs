//! Bodies sent to changes that take none: such a change begins once its request is complete, as any other.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use axum::{body::Body, extract::Request};
use serde_json::json;

use super::openapi::walk::{ADMIN_SECRET, Walk};
use crate::{
    http::ConnectionPlace,
    limits::fair_share::{FairPool, Favour},
};

/// The place of a connection that a newcomer displaced.
fn displaced() -> ConnectionPlace {
    let pool = FairPool::new(1, 1, Favour::Newcomers);
    let [place, _newcomer] =
        [1, 2].map(|host| pool.admit(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host))).expect("a newcomer displaces"));
    ConnectionPlace::new(Arc::new(place))
}

#[tokio::test]
async fn changes_nothing_for_body_on_displaced_connection_of_endpoint_that_takes_none() {
    let walk = Walk::start().await;
    let admin = walk.send("POST", "/v1/admin/auth", None, Some(json!({"secret": ADMIN_SECRET}).to_string().into()));
    let admin = admin.await.text("access_token");
    let new_app = json!({"name": "front-desk", "scopes": ["read:records:*"]}).to_string();
    let app = walk.send("POST", "/v1/admin/apps", Some(&admin), Some(new_app.into())).await.text("app_id");
    let policy = json!({"agent_name": "a", "allowed_scope": ["read:records:*"], "ttl": 3600}).to_string();
    let issued = walk.send("POST", "/v1/admin/launch-tokens", Some(&admin), Some(policy.into())).await;
    let path = format!("/v1/admin/apps/{app}");
    for (method, path) in [
        ("POST", format!("{path}/suspend")),
        ("POST", format!("{path}/resume")),
        ("DELETE", path.clone()),
        ("DELETE", format!("/v1/admin/launch-tokens/{}", issued.text("launch_token_id"))),
    ] {
        let request = Request::builder().method(method).uri(&path).header("authorization", format!("Bearer {admin}"));
        let request = request.extension(displaced()).body(Body::from("{}")).unwrap();
        assert_eq!(walk.answer(request).await.status, 503, "{method} {path}");
    }
    let app = walk.send("GET", &path, Some(&admin), None).await.json();
    assert_eq!((&app["status"], &app["updated_at"]), (&json!("active"), &app["created_at"]));
    let listed = walk.send("GET", "/v1/admin/launch-tokens", Some(&admin), None).await.json();
    assert_eq!(listed["total"], 1);
}
