//! Input that nobody sends by accident.

use axum::body::Body;
use http::Method;

use crate::hospital::Hospital;

const PRESCRIPTIONS: &str = "/patients/P-1042/prescriptions";
const WRITE: &[&str] = &["write:prescriptions:P-1042"];

#[tokio::test]
async fn a_patient_who_is_not_here_is_not_found() {
    let hospital = Hospital::new();
    for id in ["P-9999", "P-1", "p-1042", "1042", "P-1042x", "P-1'--"] {
        for resource in ["records", "labs", "notes", "billing", "prescriptions"] {
            let path = format!("/patients/{id}/{resource}");
            let all = hospital.get(&path, &[&format!("read:{resource}:*")]).await;
            assert_eq!(all.problem(), (404, "not_found"), "{path}");
            let other = hospital.get(&path, &[&format!("read:{resource}:P-1042")]).await;
            assert_eq!(other.problem(), (403, "insufficient_scope"), "{path}: who may not know learns nothing");
        }
    }
}

#[tokio::test]
async fn what_is_no_identifier_never_matches() {
    let hospital = Hospital::new();
    for (id, expected) in [
        ("%2A", 400),
        ("*", 400),
        ("P-1042%3A", 404),
        ("%00", 400),
        ("P-1042%0A", 400),
        ("%20", 400),
        ("%FF", 400),
        ("%252A", 404),
        ("%2E%2E", 404),
        ("P-1042%2F..%2FP-2077", 404),
    ] {
        let path = format!("/patients/{id}/records");
        let answer = hospital.get(&path, &["read:records:*", "read:records:P-1042"]).await;
        assert_eq!(answer.problem().0, expected, "{path}");
        let narrow = hospital.get(&path, &["read:records:P-1042"]).await;
        // A path that climbs is nobody's, whoever asks.
        let refused: &[u16] = if id.contains("%2E%2E") || id.contains("..") { &[404] } else { &[400, 403] };
        assert!(refused.contains(&narrow.problem().0), "{path}: {}", narrow.status);
    }
}

#[tokio::test]
async fn a_path_that_climbs_leads_nowhere() {
    let hospital = Hospital::new();
    for path in [
        "/patients/P-1042/../P-2077/records",
        "/patients//records",
        "/patients/P-1042/records/",
        "/patients/../patients",
        "/patients/../records",
    ] {
        let answer = hospital.get(path, &["read:records:*", "read:patients:P-1042"]).await;
        assert!(matches!(answer.problem().0, 400 | 403 | 404), "{path}: {}", answer.status);
    }
    assert_eq!(hospital.get("/nowhere", &["read:records:*"]).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn a_malformed_prescription_is_invalid() {
    let hospital = Hospital::new();
    let good = r#"{"drug":"ramipril","dose_mg":5,"times_per_day":1,"days":30}"#;
    assert_eq!(hospital.post(PRESCRIPTIONS, WRITE, good).await.status, 201);
    for body in [
        "",
        "null",
        "[]",
        "{}",
        "ramipril",
        r#"{"drug":"ramipril"}"#,
        r#"{"drug":"ramipril","dose_mg":5,"times_per_day":1,"days":30"#,
        r#"{"drug":"ramipril","dose_mg":5,"times_per_day":1,"days":30} and more"#,
        r#"{"drug":"ramipril","dose_mg":5,"dose_mg":500,"times_per_day":1,"days":30}"#,
        r#"{"drug":"ramipril","dose_mg":-5,"times_per_day":1,"days":30}"#,
        r#"{"drug":"ramipril","dose_mg":5.5,"times_per_day":1,"days":30}"#,
        r#"{"drug":"ramipril","dose_mg":"5","times_per_day":1,"days":30}"#,
        r#"{"drug":"ramipril","dose_mg":99999999999,"times_per_day":1,"days":30}"#,
        r#"{"drug":["ramipril"],"dose_mg":5,"times_per_day":1,"days":30}"#,
        r#"{"drug":"ramipril","dose_mg":5,"times_per_day":1,"days":30,"patient_id":"P-2077"}"#,
    ] {
        let answer = hospital.post(PRESCRIPTIONS, WRITE, body).await;
        assert_eq!(answer.problem(), (400, "invalid_request"), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(hospital.post(PRESCRIPTIONS, WRITE, deep).await.problem(), (400, "invalid_request"));
    assert_eq!(hospital.post(PRESCRIPTIONS, WRITE, vec![0xFF, 0xFE]).await.problem(), (400, "invalid_request"));
}

#[tokio::test]
async fn a_huge_body_is_not_read() {
    let hospital = Hospital::new();
    for (size, expected) in [(16 * 1024, 400), (16 * 1024 + 1, 413), (8 * 1024 * 1024, 413)] {
        let answer = hospital.post(PRESCRIPTIONS, WRITE, vec![b' '; size]).await;
        assert_eq!(answer.problem().0, expected, "{size}");
    }
    let refused = hospital.post(PRESCRIPTIONS, &["read:prescriptions:*"], vec![b' '; 8 * 1024 * 1024]).await;
    assert_eq!(refused.problem(), (403, "insufficient_scope"), "who may not write is told so first");
}

#[tokio::test]
async fn other_methods_are_named() {
    let hospital = Hospital::new();
    let token = hospital.issuer.token(&["read:formulary:*", "read:records:*"]);
    for path in ["/formulary", "/patients/P-1042/records"] {
        let answer = hospital.send(Method::PUT, path, &token, Body::empty()).await;
        assert_eq!(answer.problem(), (405, "method_not_allowed"), "{path}");
        assert_eq!(answer.headers["allow"], "GET,HEAD");
    }
}
