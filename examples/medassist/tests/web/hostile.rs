//! Hostile requests and patient numbers.

use serde_json::json;

use crate::page::{Page, field, kinds};

const NAMES: [&str; 6] = [
    "<img src=x onerror=alert(1)>",
    "\u{202e}2401-P",
    "P-1042\u{0}",
    "../../P-1042",
    "P-1042 OR 1=1",
    "\"}\n\ndata: x",
];

#[tokio::test]
async fn hostile_patient_number_gets_no_agent() {
    let page = Page::with_planner().await;
    let long = "x".repeat(10_000);
    for name in NAMES.into_iter().chain([long.as_str(), ""]) {
        let steps = page.ask(name, "chart").await;
        assert_eq!(kinds(&steps), [("patient_unknown", "warning"), ("complete", "info")], "{name}");
        assert_eq!(field(&steps[0], "patient"), name, "it comes back as it was, for the page to show as text");
    }
    page.scene.strike().await;
}

#[tokio::test]
async fn hostile_request_creates_no_agent_without_a_known_word() {
    let page = Page::with_planner().await;
    for text in NAMES.into_iter().filter(|text| !text.contains("P-1042")) {
        let steps = page.ask("P-1042", text).await;
        let expected = ["patient_found", "broker_health", "model_started", "answer", "complete"];
        assert_eq!(kinds(&steps).iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), expected, "{text}");
    }
    page.scene.strike().await;
}

#[tokio::test]
async fn rejects_malformed_encounter() {
    let page = Page::with_planner().await;
    for body in [
        json!([]),
        json!({}),
        json!({"patient_id": "P-1042", "request": ""}),
        json!({"patient_id": "P-1042", "request": "x".repeat(16 * 1024 + 1)}),
        json!({"patient_id": "P-1042", "request": "labs", "ttl": 0}),
        json!({"patient_id": "P-1042", "request": "labs", "ttl": 3601}),
        json!({"patient_id": "P-1042", "request": "labs", "scopes": ["write:records:*"]}),
        json!({"patient_id": 1042, "request": "labs"}),
    ] {
        let response = page.post("/api/encounters", &body).await;
        assert_eq!(response.status, 400, "{body}");
        assert!(response.json()["error"].is_string());
    }
    page.scene.strike().await;
}

#[tokio::test]
async fn pages_are_confined() {
    let page = Page::with_planner().await;
    for path in [
        "/",
        "/medassist.js",
        "/dom.js",
        "/markdown.js",
        "/operator.js",
        "/audit-chain.js",
        "/operator.css",
        "/medassist.css",
        "/icon.svg",
        "/api/setup",
    ] {
        let response = page.get(path).await;
        assert_eq!(response.status, 200, "{path}");
        let policy = response.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert!(!response.body.contains("innerHTML") && !response.body.contains("//cdn"), "{path}");
    }
    page.scene.strike().await;
}
