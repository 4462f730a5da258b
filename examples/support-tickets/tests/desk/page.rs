//! The page's routes: document, assets, guard and limits.

use demo_common::testing::EventReader;
use serde_json::json;

use crate::running::{Running, of_type};

#[tokio::test]
async fn serves_document_and_assets_under_strict_policy() {
    let desk = Running::start().await;
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/desk.css", "text/css; charset=utf-8"),
        ("/desk.js", "text/javascript; charset=utf-8"),
        ("/dom.js", "text/javascript; charset=utf-8"),
        ("/markdown.js", "text/javascript; charset=utf-8"),
        ("/operator.js", "text/javascript; charset=utf-8"),
        ("/audit-chain.js", "text/javascript; charset=utf-8"),
        ("/operator.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let response = desk.http.get(format!("{}{path}", desk.url)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let headers = response.headers();
        assert_eq!(headers["content-type"], media_type, "{path}");
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(
            (&headers["x-frame-options"], &headers["cache-control"]),
            (&"DENY".parse().unwrap(), &"no-store".parse().unwrap())
        );
    }
    let document = desk.http.get(&desk.url).send().await.unwrap().text().await.unwrap();
    assert!(document.contains("No language model in use: a planner of fixed rules chooses the tools."));
    assert!(!document.contains(" style=") && !document.contains(" onclick=") && !document.contains("<script>"));
    for script in ["/desk.js", "/dom.js", "/markdown.js", "/operator.js", "/audit-chain.js"] {
        let script = desk.http.get(format!("{}{script}", desk.url)).send().await.unwrap().text().await.unwrap();
        for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"] {
            assert!(!script.contains(sink), "{sink}");
        }
    }
}

#[tokio::test]
async fn rejects_other_hosts_and_forms_of_other_sites() {
    let desk = Running::start().await;
    for host in ["desk.example", "127.0.0.1.nip.example", "localhost.example:80", "evil@127.0.0.1.example"] {
        let response = desk.http.get(&desk.url).header("host", host).send().await.unwrap();
        assert_eq!(response.status(), 421, "{host}");
    }
    for origin in ["http://evil.example", "http://127.0.0.1:1", "null"] {
        let request = desk.http.post(format!("{}/runs", desk.url)).header("content-type", "application/json");
        let response = request.header("origin", origin).body(r#"{"ticket":"refund"}"#).send().await.unwrap();
        assert_eq!(response.status(), 403, "{origin}");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = desk.http.post(format!("{}/runs", desk.url)).header("content-type", media_type);
        let response = request.body(r#"{"ticket":"refund"}"#).send().await.unwrap();
        assert_eq!(response.status(), 415, "{media_type}");
    }
}

#[tokio::test]
async fn rejects_tickets_beyond_limits() {
    let desk = Running::start().await;
    let own = |sender: &str, subject: &str, text: &str| json!({"sender": sender, "authenticated": true, "subject": subject, "text": text, "expires": false});
    for body in [
        json!({}),
        json!({"ticket": "nonsense"}),
        json!({"ticket": 7}),
        json!({"ticket": "refund", "scope": "admin:*:*"}),
        own("", "s", "t"),
        own("a@b.example", "s", " "),
        own("a@b.example", "s", &"x".repeat(10_001)),
        own("a@b.example", &"x".repeat(301), "t"),
        own(&"x".repeat(301), "s", "t"),
    ] {
        assert_eq!(desk.post(&body).await.0, 400, "{body}");
    }
    let missing = desk.http.get(format!("{}/runs/0123/events", desk.url)).send().await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn resumes_stream_after_last_event_id() {
    let desk = Running::start().await;
    let (_, body) = desk.post(&json!({"ticket": "unknown-sender"})).await;
    let url = format!("{}/runs/{}/events", desk.url, body["run"].as_str().unwrap());
    let whole = EventReader::new(desk.http.get(&url).send().await.unwrap()).rest().await.unwrap();
    let rest = desk.http.get(&url).header("last-event-id", "2").send().await.unwrap();
    assert_eq!(EventReader::new(rest).rest().await.unwrap(), whole[3..]);
    let text = desk.http.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\nid: 0\n\n") && text.contains("\nid: 2\n\n"), "{text}");
}

#[tokio::test]
async fn limits_runs_at_a_time() {
    let desk = Running::start().await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        let (status, body) = desk.post(&json!({"ticket": "expiry"})).await;
        assert_eq!(status, 201);
        runs.push(body);
    }
    assert_eq!(desk.post(&json!({"ticket": "expiry"})).await.0, 429);
    for run in runs {
        let url = format!("{}/runs/{}/events", desk.url, run["run"].as_str().unwrap());
        let events = desk.http.get(url).send().await.unwrap().text().await.unwrap();
        assert!(events.contains(r#""outcome":"expired""#), "{events}");
    }
    let events = desk.run(&json!({"ticket": "unknown-sender"})).await;
    assert_eq!(of_type(&events, "finished").len(), 1);
}
