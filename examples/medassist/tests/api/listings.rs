//! Reads and their scopes.

use serde_json::json;

use crate::hospital::Hospital;

fn ids(body: &serde_json::Value) -> Vec<&str> {
    body.as_array().unwrap().iter().map(|patient| patient["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn list_of_patients_is_filtered_by_token() {
    let hospital = Hospital::new();
    for (scopes, expected) in [
        (&["read:patients:P-1042"][..], &["P-1042"][..]),
        (&["read:patients:P-3155", "read:patients:P-1042", "read:records:P-2077"], &["P-1042", "P-3155"]),
        (&["read:patients:*"], &["P-1042", "P-2077", "P-3155", "P-4210"]),
        (&["read:patients:P-9999"], &[]),
        (&["read:patients:x'--"], &[]),
    ] {
        let response = hospital.get("/patients", scopes).await;
        assert_eq!((response.status.as_u16(), ids(&response.body)), (200, expected.to_vec()), "{scopes:?}");
    }
    let response = hospital.get("/patients", &["read:records:*", "write:patients:*"]).await;
    assert_eq!(response.problem(), (403, "insufficient_scope"));
}

#[tokio::test]
async fn each_resource_requires_its_own_scope() {
    let hospital = Hospital::new();
    let resources = ["records", "labs", "notes", "billing", "prescriptions"];
    for path in resources {
        for scope in resources {
            let response = hospital.get(&format!("/patients/P-1042/{path}"), &[&format!("read:{scope}:P-1042")]).await;
            assert_eq!(response.status, if path == scope { 200 } else { 403 }, "{path} with {scope}");
            let entries = response.body.as_array().map(Vec::len).unwrap_or_default();
            assert_eq!(entries > 0, path == scope, "{}", response.body);
        }
        let others = hospital.get(&format!("/patients/P-2077/{path}"), &[&format!("read:{path}:P-1042")]).await;
        assert_eq!(others.problem(), (403, "insufficient_scope"));
        let challenge = others.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.ends_with(&format!(r#"scope="read:{path}:P-2077""#)), "{challenge}");
    }
}

#[tokio::test]
async fn formulary_is_granted_whole_or_by_drug() {
    let hospital = Hospital::new();
    let whole = hospital.get("/formulary", &["read:formulary:*"]).await;
    assert_eq!((whole.status.as_u16(), whole.body.as_array().unwrap().len()), (200, 10));
    let one = ["read:formulary:ramipril"];
    assert_eq!(hospital.get("/formulary", &one).await.status, 403);
    let response = hospital.get("/formulary/ramipril", &one).await;
    let ramipril = json!({
        "name": "ramipril", "form": "capsule", "max_dose_mg": 10, "controlled": false, "allergen": null,
        "class": "ACE inhibitor", "contraindication": "pregnancy", "tier": 1, "prior_authorization": false,
    });
    assert_eq!((response.status.as_u16(), response.body), (200, ramipril));
    assert_eq!(hospital.get("/formulary/morphine", &one).await.status, 403);
    assert_eq!(hospital.get("/formulary/arsenic", &["read:formulary:*"]).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn chart_has_codes_visits_flags_and_contact() {
    let hospital = Hospital::new();
    let records = hospital.get("/patients/P-1042/records", &["read:records:P-1042"]).await;
    assert_eq!(
        (&records.body[1]["text"], &records.body[1]["icd10"]),
        (&json!("essential hypertension"), &json!("I10"))
    );
    let visits = hospital.get("/patients/P-1042/visits", &["read:records:P-1042"]).await;
    let latest = json!({
        "visited_on": "2026-11-20", "provider": "Dr Imre Vale", "complaint": "short of breath on stairs", "pulse": 96,
        "systolic": 158, "diastolic": 92, "celsius": 36.7,
    });
    assert_eq!((visits.body.as_array().unwrap().len(), &visits.body[0]), (2, &latest));
    let labs = hospital.get("/patients/P-1042/labs", &["read:labs:P-1042"]).await;
    let flags: Vec<_> = labs.body.as_array().unwrap().iter().map(|lab| lab["flag"].as_str().unwrap()).collect();
    assert_eq!(flags, ["high", "high", "normal"]);
    let patient = hospital.get("/patients/P-1042", &["read:patients:P-1042"]).await;
    assert_eq!(patient.body["contact"]["emergency_relation"], "husband");
    let listed = hospital.get("/patients", &["read:patients:P-1042"]).await;
    assert_eq!(listed.body[0].get("contact"), None, "a listing holds no contact");
    for path in ["/patients/P-2077/visits", "/patients/P-2077"] {
        let other = hospital.get(path, &["read:records:P-1042", "read:patients:P-1042"]).await;
        assert_eq!(other.problem(), (403, "insufficient_scope"), "{path}");
    }
}

#[tokio::test]
async fn adds_note_with_write_scope() {
    let hospital = Hospital::new();
    let path = "/patients/P-3155/notes";
    let (read, write) = (["read:notes:P-3155"], ["write:notes:P-3155"]);
    let note = json!({"text": "Feeds well again."}).to_string();
    assert_eq!(hospital.post(path, &read, note.clone()).await.problem(), (403, "insufficient_scope"));
    let added = hospital.post(path, &write, note).await;
    assert_eq!(added.status, 201);
    assert!(added.body["author"].as_str().unwrap().starts_with("spiffe://"), "{}", added.body);
    assert_eq!(hospital.get(path, &read).await.body, json!([added.body]));
    for text in [String::new(), " \n".to_owned(), "x".repeat(4097)] {
        let response = hospital.post(path, &write, json!({ "text": text }).to_string()).await;
        assert_eq!(response.problem(), (400, "invalid_request"));
    }
}

#[tokio::test]
async fn only_readiness_needs_no_token() {
    let hospital = Hospital::new();
    assert_eq!(hospital.get("/ready", &["read:data:*"]).await.body, json!({"ready": true}));
    for path in ["/", "/patients", "/patients/P-1042/notes", "/nowhere"] {
        let response = hospital.send(http::Method::GET, path, "none", axum::body::Body::empty()).await;
        assert_eq!(response.problem(), (401, "unauthorized"), "{path}");
    }
}
