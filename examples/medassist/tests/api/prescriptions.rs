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
    let mut written = response.body;
    let moderate = json!([{"with": "metformin", "severity": "moderate", "effect": "may lower the blood glucose"}]);
    assert_eq!(written.as_object_mut().unwrap().remove("interactions"), Some(moderate));
    assert_eq!(hospital.get(PATH, READ).await.body[0], written, "the newest first");
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
        (order("apixaban", 5, 2, 30), 409, "apixaban needs the insurer's prior authorization, which a person requests"),
        (order("amoxicillin", 500, 3, 7), 409, "the patient is allergic to penicillin, which amoxicillin contains"),
    ] {
        let response = hospital.post(PATH, WRITE, order.to_string()).await;
        assert_eq!((response.problem().0, response.detail()), (status, detail));
    }
    assert_eq!(hospital.get(PATH, READ).await.body, before);
}

#[tokio::test]
async fn severe_interaction_is_409_and_moderate_one_is_noted() {
    let hospital = Hospital::new();
    let (path, notes) = ("/patients/P-4210/prescriptions", "/patients/P-4210/notes");
    let (write, read) = (["write:prescriptions:P-4210"], ["read:prescriptions:P-4210", "read:notes:P-4210"]);
    let before = hospital.get(path, &read).await.body;
    let refused = hospital.post(path, &write, order("ibuprofen", 400, 3, 5).to_string()).await;
    assert_eq!(refused.problem(), (409, "conflict"));
    assert_eq!(
        refused.detail(),
        "ibuprofen with warfarin, which the patient takes: risk of bleeding (severe interaction)"
    );
    assert_eq!(hospital.get(path, &read).await.body, before);
    assert_eq!(hospital.get(notes, &read).await.body.as_array().unwrap().len(), 1);

    let minor = hospital.post(path, &write, order("paracetamol", 500, 3, 5).to_string()).await;
    assert_eq!((minor.status.as_u16(), &minor.body["interactions"][0]["severity"]), (201, &json!("minor")));
    assert_eq!(hospital.get(notes, &read).await.body.as_array().unwrap().len(), 1);
    let moderate = hospital.post(path, &write, order("amoxicillin", 500, 3, 7).to_string()).await;
    assert_eq!((moderate.status.as_u16(), &moderate.body["interactions"][0]["severity"]), (201, &json!("moderate")));
    let note = &hospital.get(notes, &read).await.body[0];
    let text = "amoxicillin prescribed with warfarin: may raise the INR (moderate interaction).";
    assert_eq!((&note["text"], &note["author"]), (&json!(text), &moderate.body["prescribed_by"]));
}

#[tokio::test]
async fn interactions_are_listed_without_access_to_chart() {
    let hospital = Hospital::new();
    let scope = ["read:interactions:P-4210"];
    let listed = hospital.get("/patients/P-4210/interactions/ibuprofen", &scope).await;
    let severe = json!([{"with": "warfarin", "severity": "severe", "effect": "risk of bleeding"}]);
    assert_eq!((listed.status.as_u16(), listed.body), (200, severe));
    assert_eq!(hospital.get("/patients/P-4210/interactions/metformin", &scope).await.body, json!([]));
    let unknown = hospital.get("/patients/P-4210/interactions/arsenic", &scope).await;
    assert_eq!(unknown.problem(), (404, "not_found"));
    let other = hospital.get("/patients/P-1042/interactions/ibuprofen", &scope).await;
    assert_eq!(other.problem(), (403, "insufficient_scope"));
    assert_eq!(hospital.get("/patients/P-4210/prescriptions", &scope).await.status, 403);
}
