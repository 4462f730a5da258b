//! Hostile input.

use axum::body::Body;
use http::Method;

use crate::hospital::Hospital;

const PRESCRIPTIONS: &str = "/patients/P-1042/prescriptions";
const WRITE: &[&str] = &["write:prescriptions:P-1042"];

#[tokio::test]
async fn unknown_patient_is_404() {
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
async fn malformed_identifier_never_matches() {
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
        let response = hospital.get(&path, &["read:records:*", "read:records:P-1042"]).await;
        assert_eq!(response.problem().0, expected, "{path}");
        let narrow = hospital.get(&path, &["read:records:P-1042"]).await;
        // A path with dot segments matches no route, for any token.
        let refused: &[u16] = if id.contains("%2E%2E") || id.contains("..") { &[404] } else { &[400, 403] };
        assert!(refused.contains(&narrow.problem().0), "{path}: {}", narrow.status);
    }
}

#[tokio::test]
async fn path_with_dot_segments_is_404() {
    let hospital = Hospital::new();
    for path in [
        "/patients/P-1042/../P-2077/records",
        "/patients//records",
        "/patients/P-1042/records/",
        "/patients/../patients",
        "/patients/../records",
    ] {
        let response = hospital.get(path, &["read:records:*", "read:patients:P-1042"]).await;
        assert!(matches!(response.problem().0, 400 | 403 | 404), "{path}: {}", response.status);
    }
    assert_eq!(hospital.get("/nowhere", &["read:records:*"]).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn malformed_prescription_is_400() {
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
        let response = hospital.post(PRESCRIPTIONS, WRITE, body).await;
        assert_eq!(response.problem(), (400, "invalid_request"), "{body}");
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(hospital.post(PRESCRIPTIONS, WRITE, deep).await.problem(), (400, "invalid_request"));
    assert_eq!(hospital.post(PRESCRIPTIONS, WRITE, vec![0xFF, 0xFE]).await.problem(), (400, "invalid_request"));
}

#[tokio::test]
async fn too_large_body_is_413() {
    let hospital = Hospital::new();
    for (size, expected) in [(16 * 1024, 400), (16 * 1024 + 1, 413), (8 * 1024 * 1024, 413)] {
        let response = hospital.post(PRESCRIPTIONS, WRITE, vec![b' '; size]).await;
        assert_eq!(response.problem().0, expected, "{size}");
    }
    let refused = hospital.post(PRESCRIPTIONS, &["read:prescriptions:*"], vec![b' '; 8 * 1024 * 1024]).await;
    assert_eq!(refused.problem(), (403, "insufficient_scope"), "who may not write is told so first");
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let hospital = Hospital::new();
    let token = hospital.issuer.token(&["read:formulary:*", "read:records:*"]);
    for path in ["/formulary", "/patients/P-1042/records"] {
        let response = hospital.send(Method::PUT, path, &token, Body::empty()).await;
        assert_eq!(response.problem(), (405, "method_not_allowed"), "{path}");
        assert_eq!(response.headers["allow"], "GET,HEAD");
    }
}
