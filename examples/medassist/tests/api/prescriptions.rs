//! Prescriptions that are accepted, and those that are rejected.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::hospital::Hospital;

const PATH: &str = "/patients/P-1042/prescriptions";
const WRITE: &[&str] = &["write:prescriptions:P-1042"];
const READ: &[&str] = &["read:prescriptions:P-1042"];

fn order(drug: &str, dose_mg: u32, times_per_day: u32, days: u32) -> Value {
    json!({"drug": drug, "dose_mg": dose_mg, "times_per_day": times_per_day, "days": days})
}

#[tokio::test]
async fn delegated_prescription_records_root_of_chain() {
    let hospital = Hospital::new();
    let delegator = hospital.issuer.claims(WRITE);
    let claims = hospital.issuer.delegated(&delegator, WRITE);
    let token = hospital.issuer.sign(&claims);
    let body = Body::from(order("ramipril", 5, 1, 30).to_string());
    let response = hospital.send(Method::POST, PATH, &token, body).await;

    assert_eq!(response.status, 201);
    assert_eq!(response.body["prescribed_by"], claims.sub.to_string());
    assert_eq!(response.body["on_behalf_of"], delegator.sub.to_string());
    assert_eq!(response.body["token_id"], claims.jti.to_string());
    assert_eq!((&response.body["drug"], &response.body["dose_mg"]), (&json!("ramipril"), &json!(5)));
    assert_eq!(hospital.get(PATH, READ).await.body[0], response.body, "the newest first");
}

#[tokio::test]
async fn direct_prescription_records_no_root() {
    let hospital = Hospital::new();
    let response = hospital.post(PATH, WRITE, order("ramipril", 5, 1, 30).to_string()).await;
    assert_eq!((response.status.as_u16(), &response.body["on_behalf_of"]), (201, &Value::Null));
}

#[tokio::test]
async fn read_scope_does_not_permit_writing() {
    let hospital = Hospital::new();
    let body = order("ramipril", 5, 1, 30).to_string();
    assert_eq!(hospital.post(PATH, READ, body).await.problem(), (403, "insufficient_scope"));
    assert_eq!(hospital.get(PATH, WRITE).await.problem(), (403, "insufficient_scope"));
    let response = hospital.send(Method::DELETE, PATH, &hospital.issuer.token(WRITE), Body::empty()).await;
    assert_eq!(response.problem(), (405, "method_not_allowed"));
    assert!(response.headers["allow"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn controlled_drug_requires_second_scope() {
    let hospital = Hospital::new();
    let morphine = order("morphine", 10, 2, 3).to_string();
    let refused = hospital.post(PATH, WRITE, morphine.clone()).await;
    assert_eq!(refused.problem(), (403, "insufficient_scope"));
    let challenge =
        r#"Bearer realm="agentwrit", error="insufficient_scope", scope="write:controlled-prescriptions:P-1042""#;
    assert_eq!(refused.headers["www-authenticate"], challenge);
    for (second, expected) in [("P-2077", 403), ("P-1042", 201), ("*", 201)] {
        let second = format!("write:controlled-prescriptions:{second}");
        let response = hospital.post(PATH, &[WRITE[0], &second], morphine.clone()).await;
        assert_eq!(response.status, expected, "{second}");
    }
}

#[tokio::test]
async fn rejects_invalid_order_without_writing() {
    let hospital = Hospital::new();
    let before = hospital.get(PATH, READ).await.body;
    for (order, status, detail) in [
        (order("arsenic", 5, 1, 1), 400, "`drug`: `arsenic` is not in the formulary"),
        (order("ramipril", 0, 1, 1), 400, "`dose_mg` of ramipril is 1 to 10"),
        (order("ramipril", 11, 1, 1), 400, "`dose_mg` of ramipril is 1 to 10"),
        (order("ramipril", 5, 7, 1), 400, "`times_per_day` of ramipril is 1 to 6"),
        (order("ramipril", 5, 1, 91), 400, "`days` of ramipril is 1 to 90"),
        (order("amoxicillin", 500, 3, 7), 409, "the patient is allergic to penicillin, which amoxicillin contains"),
    ] {
        let response = hospital.post(PATH, WRITE, order.to_string()).await;
        assert_eq!((response.problem().0, response.detail()), (status, detail));
    }
    assert_eq!(hospital.get(PATH, READ).await.body, before);
}
