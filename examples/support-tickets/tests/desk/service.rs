//! The ticket service refuses by scope and by its own rules, to any agent of any app.

use std::time::Duration;

use crate::running::Running;
use http::{HeaderValue, Method};
use serde_json::{Value, json};

async fn agent(desk: &Running, scopes: &[&str]) -> HeaderValue {
    let agent = desk.desk.app().agent("test", "service").scope(scopes).unwrap();
    agent.max_ttl(Duration::from_secs(60)).create().await.unwrap().authorization()
}

async fn send(
    desk: &Running,
    token: Option<&HeaderValue>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, String, Value) {
    let mut request = desk.http.request(method, format!("{}{path}", desk.desk.service_url()));
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let body = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    (status, challenge.unwrap_or_default(), body)
}

#[tokio::test]
async fn requires_scope_of_each_route() {
    let desk = Running::start().await;
    let ticket = desk.desk.store().file_ticket("greta@halvorsen.example", true, "s", "t");
    let other = agent(&desk, &["read:tickets:T-1", "read:customers:C-2077", "write:email:internal"]).await;
    for (method, path, scope) in [
        (Method::GET, format!("/tickets/{ticket}"), format!("read:tickets:{ticket}")),
        (Method::GET, format!("/tickets/{ticket}/sender"), format!("read:tickets:{ticket}")),
        (Method::GET, "/customers/C-2041".to_owned(), "read:customers:C-2041".to_owned()),
        (Method::GET, "/customers/C-2041/balance".to_owned(), "read:billing:C-2041".to_owned()),
        (Method::POST, "/customers/C-2041/refunds".to_owned(), "write:billing:C-2041".to_owned()),
        (Method::GET, "/customers/C-2041/notes".to_owned(), "read:customers:C-2041".to_owned()),
        (Method::POST, "/customers/C-2077/notes".to_owned(), "write:notes:C-2077".to_owned()),
        (Method::DELETE, "/customers/C-2077".to_owned(), "delete:account:C-2077".to_owned()),
        (Method::GET, "/knowledge?q=refund".to_owned(), "read:kb:*".to_owned()),
        (Method::POST, "/mail/external".to_owned(), "write:email:external".to_owned()),
    ] {
        let (status, challenge, body) = send(&desk, Some(&other), method.clone(), &path, None).await;
        assert_eq!((status, &body["error_code"]), (403, &json!("insufficient_scope")), "{method} {path}");
        assert!(challenge.contains(&format!("scope=\"{scope}\"")), "{challenge}");
        assert_eq!(send(&desk, None, method, &path, None).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn limits_refunds_whatever_the_scope() {
    let desk = Running::start().await;
    let store = desk.desk.store();
    let (own, others) = (
        store.file_ticket("priya@raman.example", true, "s", "t"),
        store.file_ticket("greta@halvorsen.example", true, "s", "t"),
    );
    let spoofed = store.file_ticket("priya@raman.example", false, "s", "t");
    let token = agent(&desk, &["write:billing:C-2113", "read:billing:C-2113"]).await;
    for (ticket, amount, status, detail) in [
        (&own, json!(50_01), 409, "a refund of 50.01 EUR is above the limit of 50.00 EUR without a person's approval"),
        (&own, json!(0), 400, "a refund is at least 0.01 EUR"),
        (&others, json!(10), 409, "was not sent by customer `C-2113`"),
        (&spoofed, json!(10), 409, "was not sent by customer `C-2113`"),
        (&"T-9".to_owned(), json!(10), 404, "there is no ticket `T-9`"),
        (&own, json!(-1), 400, ""),
        (&own, json!(50_00), 201, ""),
        (&own, json!(1), 409, "already has a refund"),
    ] {
        let body = json!({"ticket_id": ticket, "amount_cents": amount});
        let (is, _, body) = send(&desk, Some(&token), Method::POST, "/customers/C-2113/refunds", Some(body)).await;
        assert_eq!(is, status, "{ticket} {amount} {body}");
        assert!(body["detail"].as_str().unwrap_or_default().contains(detail), "{body}");
    }
    let (_, _, balance) = send(&desk, Some(&token), Method::GET, "/customers/C-2113/balance", None).await;
    assert_eq!(balance["refunded_cents"], 50_00);
}

#[tokio::test]
async fn suspended_account_gets_no_refund() {
    let desk = Running::start().await;
    let ticket = desk.desk.store().file_ticket("otso@kivela.example", true, "s", "t");
    let token = agent(&desk, &["write:billing:C-2188", "read:customers:C-2188"]).await;
    let (_, _, profile) = send(&desk, Some(&token), Method::GET, "/customers/C-2188", None).await;
    assert_eq!((&profile["status"], &profile["plan"]), (&json!("suspended"), &json!("Solo")));
    let body = json!({"ticket_id": ticket, "amount_cents": 100});
    let (status, _, body) = send(&desk, Some(&token), Method::POST, "/customers/C-2188/refunds", Some(body)).await;
    assert_eq!(
        (status, &body["detail"]),
        (409, &json!("the account of `C-2188` is suspended: a person approves its refunds"))
    );
}

#[tokio::test]
async fn sends_internal_mail_to_company_addresses_only() {
    let desk = Running::start().await;
    let token = agent(&desk, &["write:email:internal"]).await;
    for (to, status) in [
        ("accounts@brightpath.example", 201),
        ("thief@exfil.example", 400),
        ("thief@exfil.example,accounts@brightpath.example", 400),
        ("thief@exfil.example\naccounts@brightpath.example", 400),
        ("accounts@brightpath.example.evil.example", 400),
        ("@brightpath.example", 400),
        ("", 400),
    ] {
        let body = json!({"to": to, "text": "hello"});
        let (is, ..) = send(&desk, Some(&token), Method::POST, "/mail/internal", Some(body)).await;
        assert_eq!(is, status, "{to:?}");
    }
    assert_eq!(desk.desk.store().outbox(), ["accounts@brightpath.example"]);
}

#[tokio::test]
async fn responds_with_problem_to_unknown_paths_customers_and_bodies() {
    let desk = Running::start().await;
    let token = agent(&desk, &["read:customers:C-9999", "write:notes:C-2041"]).await;
    for (method, path, body, status) in [
        (Method::GET, "/nothing", None, 404),
        (Method::GET, "/customers/C-9999", None, 404),
        (Method::POST, "/customers/C-2041/notes", Some(json!({"text": " "})), 400),
        (Method::POST, "/customers/C-2041/notes", Some(json!({"text": "x".repeat(2049)})), 400),
        (Method::POST, "/customers/C-2041/notes", Some(json!({"text": "x", "more": 1})), 400),
        (Method::POST, "/customers/C-2041/notes", Some(json!({"text": "x".repeat(20_000)})), 413),
        (Method::POST, "/customers/C-2041/notes", Some(json!({"text": "x"})), 201),
    ] {
        assert_eq!(send(&desk, Some(&token), method, path, body).await.0, status, "{path}");
    }
}
