//! `POST /v1/register`: each field, wrong in every way.

use agentwrit_e2e::{Broker, Field};
use data_encoding::BASE64;
use serde_json::json;

const PATH: &str = "/v1/register";

#[tokio::test]
async fn checks_each_member_before_consuming_anything() {
    let broker = Broker::start().await;
    let valid = broker.registration(&broker.admin_token().await, &["read:data:x"]).await.0;
    let fields = [
        Field::Text("launch_token"),
        Field::Text("nonce"),
        Field::Text("public_key"),
        Field::Text("signature"),
        Field::Segment("orch_id"),
        Field::Segment("task_id"),
        Field::Scopes("requested_scope"),
    ];
    let (rows, events) = (broker.stored_rows(), broker.audit_events().await);
    for broken in fields.iter().flat_map(|field| field.broken(&valid)) {
        let answer = broker.post(PATH).json(&broken.body).await;
        assert_eq!(answer.status, 400, "{}: {}", broken.why, String::from_utf8_lossy(&answer.body));
        answer.refused_for(400, "invalid_request", broken.field);
    }
    assert_eq!(broker.stored_rows(), rows, "nothing was stored");
    assert!(broker.audit_events().await - events <= 10, "noise does not flood the trail");
    assert_eq!(broker.post(PATH).json(&valid).await.status, 200, "nothing was consumed");
}

#[tokio::test]
async fn rejects_registration_for_first_reason_in_order() {
    let broker = Broker::start().await;
    let valid = broker.registration(&broker.admin_token().await, &["read:data:x"]).await;
    let everything_wrong = valid
        .clone()
        .with("orch_id", json!(""))
        .with("launch_token", json!("0".repeat(64)))
        .with("requested_scope", json!(["read:data:*"]))
        .with("nonce", json!("0".repeat(64)))
        .with("signature", json!(BASE64.encode(&[0; 64])));
    let mut repaired = everything_wrong;
    for (status, code, field) in [
        (400, "invalid_request", "orch_id"),
        (401, "unauthorized", "launch_token"),
        (403, "scope_violation", "requested_scope"),
        (401, "unauthorized", "nonce"),
        (401, "unauthorized", "signature"),
    ] {
        broker.post(PATH).json(&repaired.0).await.problem(status, code);
        repaired = repaired.with(field, valid.0[field].clone());
    }
    assert_eq!(broker.post(PATH).json(&repaired.0).await.status, 200);
}

#[tokio::test]
async fn accepts_values_at_their_limits() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for (field, value) in [
        ("orch_id", json!("o".repeat(128))),
        ("task_id", json!("t".repeat(128))),
        ("task_id", json!("...")),
        ("orch_id", json!("A-Z_a.z0-9")),
    ] {
        let registration = broker.registration(&admin, &["read:data:x"]).await.with(field, value.clone());
        let answer = broker.post(PATH).json(&registration.0).await;
        assert_eq!(answer.status, 200, "{field} = {value}: {}", String::from_utf8_lossy(&answer.body));
    }
}
