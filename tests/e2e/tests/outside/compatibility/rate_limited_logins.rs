//! The event of a rate-limited login names the client id that was tried.

use agentwrit_e2e::Broker;
use serde_json::json;

#[tokio::test]
async fn event_names_the_id_that_was_tried() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let secret = "ab".repeat(32);
    // The id of the app in place of its client id is the usual mistake; a secret there must not be recorded.
    for tried in [&app.client_id, &app.app_id, "New\nLine", &secret] {
        for attempt in 0..5 {
            let login = json!({"client_id": tried, "client_secret": "wrong"});
            let status = broker.post("/v1/app/auth").json(&login).await.status;
            assert_eq!(status, if attempt < 3 { 401 } else { 429 }, "{tried}, attempt {attempt}");
        }
    }
    let events = broker.events(&admin, "event_type=app_rate_limited").await;
    let mut named: Vec<_> = events.iter().map(|event| event["resource"].as_str()).collect();
    named.dedup();
    assert_eq!(named, [Some(&*app.client_id), Some(&*app.app_id), Some("New?Line"), None]);
}
