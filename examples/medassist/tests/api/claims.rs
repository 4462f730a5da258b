//! Insurance and claims.

use serde_json::json;

use crate::hospital::Hospital;

const CLAIMS: &str = "/patients/P-1042/claims";
const WRITE: &[&str] = &["write:claims:P-1042"];

#[tokio::test]
async fn claim_is_filed_once_for_invoice_of_patient() {
    let hospital = Hospital::new();
    let claim = |invoice: &str, code: &str| json!({"invoice_id": invoice, "code": code}).to_string();
    for (invoice, code, status, detail) in [
        ("I-88096", "S-47", 400, "`invoice_id` is not an invoice of this patient"),
        ("I-0", "S-47", 400, "`invoice_id` is not an invoice of this patient"),
        ("I-88101", "C-10", 400, "`code` is not the code of the invoice's service"),
    ] {
        let response = hospital.post(CLAIMS, WRITE, claim(invoice, code)).await;
        assert_eq!((response.problem().0, response.detail()), (status, detail));
    }
    let filed = hospital.post(CLAIMS, WRITE, claim("I-88101", "H-21")).await;
    assert_eq!(filed.status, 201);
    // (214.50 - 50.00 deductible), of which the patient pays a tenth.
    assert_eq!((&filed.body["insurer_cents"], &filed.body["patient_cents"]), (&json!(14760), &json!(6690)));
    assert!(filed.body["filed_by"].as_str().unwrap().starts_with("spiffe://"));
    let insurance = hospital.get("/patients/P-1042/insurance", &["read:insurance:P-1042"]).await;
    assert_eq!(insurance.body["deductible_left_cents"], 0);
    let again = hospital.post(CLAIMS, WRITE, claim("I-88101", "H-21")).await;
    assert_eq!(again.problem(), (409, "conflict"));
    assert_eq!(again.detail(), "a claim for invoice I-88101 was filed before");
}

#[tokio::test]
async fn claims_and_insurance_require_their_scopes() {
    let hospital = Hospital::new();
    let body = json!({"invoice_id": "I-88101", "code": "H-21"}).to_string();
    let read = ["read:insurance:P-1042", "read:billing:P-1042", "write:claims:P-2077"];
    assert_eq!(hospital.post(CLAIMS, &read, body).await.problem(), (403, "insufficient_scope"));
    assert_eq!(hospital.get("/patients/P-2077/insurance", &read).await.problem(), (403, "insufficient_scope"));
    assert_eq!(hospital.get("/billing-codes", &read).await.problem(), (403, "insufficient_scope"));
    let codes = hospital.get("/billing-codes", &["read:billing-codes:*"]).await;
    assert_eq!(codes.body[0], json!({"code": "C-10", "item": "consultation"}));
}
