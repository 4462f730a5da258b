//! Requests of other hosts and sites.

use std::sync::Arc;

use demo_common::testing::ServedPages;
use medassist::{assistant::planner, scene::Scene};

use crate::page::routes_of;

#[tokio::test]
async fn rejects_rebound_hosts_and_requests_of_other_sites() {
    let scene = Scene::set().await.unwrap();
    let pages = ServedPages::start(routes_of(&scene, Arc::new(planner()))).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let revocation = r#"{"level": "task", "target": "t"}"#;
    for (host, origin, media_type, status) in [
        (None, None, "application/json", 200),
        (None, Some(pages.url()), "application/json", 200),
        (None, Some("http://evil.example"), "application/json", 403),
        (None, Some("null"), "application/json", 403),
        (None, None, "text/plain", 415),
        (None, None, "application/x-www-form-urlencoded", 415),
        (Some("evil.example"), Some("http://evil.example"), "application/json", 421),
    ] {
        let mut request = client.post(format!("{}/api/revocations", pages.url())).header("content-type", media_type);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let response = request.body(revocation).send().await.unwrap();
        assert_eq!(response.status(), status, "{host:?} {origin:?} {media_type}");
    }
    for path in ["/", "/api/setup", "/api/operator", "/api/audit"] {
        let request = client.get(format!("{}{path}", pages.url())).header("host", "evil.example:80");
        assert_eq!(request.send().await.unwrap().status(), 421, "{path}");
    }
    scene.strike().await;
}
