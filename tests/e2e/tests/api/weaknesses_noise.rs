//! Effects of unauthenticated clients (issue 3, "exact weaknesses"): growth, lock-out, forged log lines.

use std::collections::BTreeSet;

use agentwrit_e2e::{ADMIN_SECRET, Broker};
use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How many refusals an event stands for.
fn count(event: &Value) -> u64 {
    let detail = event["detail"].as_str().unwrap();
    detail.rsplit_once(" count=").map_or(1, |(_, count)| count.parse().unwrap())
}

#[tokio::test]
async fn denials_are_folded_without_loss() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for _ in 0..300 {
        broker.get("/v1/audit/events").bearer("nonsense").await.problem(401, "unauthorized");
    }
    let events = broker.events(&admin, "event_type=token_auth_failed").await;
    assert_eq!(events.iter().map(count).sum::<u64>(), 300);
    assert!(events.len() <= 60, "300 refusals became {} events", events.len());
    assert!(events.iter().any(|event| event["detail"].as_str().unwrap().ends_with(&format!("count={}", count(event)))));
}

#[tokio::test]
async fn unauthenticated_names_do_not_grow_audit_trail() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let before = broker.events(&admin, "").await.len();
    let rows = broker.stored_rows();
    let valid = broker.registration(&admin, &["read:data:x"]).await;
    for number in 0..150 {
        let other_client = valid
            .clone()
            .with("launch_token", json!(format!("{number:064}")))
            .with("task_id", json!(format!("task-{number}")));
        broker.post("/v1/register").json(&other_client.0).await.problem(401, "unauthorized");
    }
    let events = broker.events(&admin, "event_type=registration_policy_violation").await;
    assert_eq!(events.iter().map(count).sum::<u64>(), 150);
    assert!(events.len() <= 40, "150 refusals became {} events", events.len());
    assert!(broker.events(&admin, "").await.len() <= before + 41);
    let grown: Vec<_> = broker.stored_rows().into_iter().filter(|(table, count)| rows[table] != *count).collect();
    assert!(grown.iter().all(|(table, _)| table == "launch_tokens" || table == "names"), "{grown:?}");
}

#[tokio::test]
async fn unauthenticated_requests_do_not_grow_metric_labels() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let series = || async {
        let text = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
        let names = text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
        names.filter(|name| !name.starts_with('#')).collect::<BTreeSet<String>>()
    };
    // One request of each kind, so that later growth comes from the attack alone.
    broker.get("/nowhere").await;
    broker.get("/v1/admin/apps/app-desk-0a1b2c").bearer("nonsense").await;
    let spoilt = broker.registration(&admin, &["read:data:x"]).await.with("launch_token", json!("0".repeat(64)));
    broker.post("/v1/register").json(&spoilt.0).await;
    broker.events(&admin, "").await;
    series().await;
    let before = series().await;
    for number in 0..100 {
        broker.get(&format!("/nowhere/{number}")).await;
        broker.get(&format!("/v1/admin/apps/app-n{number}-0a1b2c")).bearer(&format!("nonsense{number}")).await;
        broker.request(Method::from_bytes(format!("M{number}").as_bytes()).unwrap(), "/v1/health").await;
        let spoilt = spoilt.clone().with("requested_scope", json!([format!("read:data{number}:x")]));
        broker.post("/v1/register").json(&spoilt.0).await;
    }
    broker.events(&admin, "").await;
    let new: Vec<String> = series().await.difference(&before).cloned().collect();
    assert!(new.iter().all(|name| name.contains("/v1/health")), "{new:?}");
}

#[tokio::test]
async fn failed_logins_of_other_address_do_not_lock_out_app() {
    let broker = Broker::start_with(&[("AA_TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let app = broker.create_app(&broker.admin_token().await, "desk", &["read:data:*"]).await;
    let login = |secret: &str, from: &str| {
        let body = json!({"client_id": app.client_id, "client_secret": secret});
        broker.post("/v1/app/auth").header("x-forwarded-for", from).json(&body).into_future()
    };
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(login("wrong", "203.0.113.9").await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429, 429]);
    assert_eq!(login(&app.client_secret, "198.51.100.7").await.status, 200);
    assert_eq!(login(&app.client_secret, "203.0.113.9").await.status, 429, "the attacker's address stays limited");
}

#[tokio::test]
async fn forwarded_address_of_untrusted_peer_is_ignored() {
    for (proxies, forwarded) in [
        ("", "203.0.113.{}"),
        ("10.0.0.0/8", "203.0.113.{}"),
        ("127.0.0.1/32", "203.0.113.{}, 198.51.100.7"),
        ("127.0.0.1/32", "203.0.113.{}, nonsense"),
    ] {
        let broker = Broker::start_with(&[("AA_TRUSTED_PROXIES", proxies)]).await;
        let app = broker.create_app(&broker.admin_token().await, "desk", &["read:data:*"]).await;
        let mut statuses = Vec::new();
        for number in 0..6 {
            let body = json!({"client_id": app.client_id, "client_secret": "wrong"});
            let forwarded = forwarded.replace("{}", &number.to_string());
            let request = broker.post("/v1/app/auth").header("x-forwarded-for", &forwarded);
            statuses.push(request.header("forwarded", &format!("for=192.0.2.{number}")).json(&body).await.status);
        }
        assert_eq!(statuses, [401, 401, 401, 429, 429, 429], "{proxies:?} {forwarded:?}");
    }
}

#[tokio::test]
async fn encoded_newline_in_path_forges_no_log_line() {
    let broker = Broker::start_with(&[("AA_LOG_LEVEL", "trace")]).await;
    let admin = broker.admin_token().await;
    let line = "[AA:BROKER:OK] 2026-01-01T00:00:00Z | BROKER | FORGED";
    let encoded = line.replace('[', "%5B").replace(']', "%5D").replace(' ', "%20").replace('|', "%7C");
    for separator in ["%0A", "%0D%0A", "%E2%80%A8", "%C2%85", "%1B%5B2K"] {
        broker.get(&format!("/v1/{separator}{encoded}")).await.problem(404, "not_found");
        broker.get(&format!("/v1/admin/apps/{separator}{encoded}")).bearer(&admin).await.problem(404, "not_found");
        broker
            .get(&format!("/v1/audit/events?{separator}{encoded}=1"))
            .bearer(&admin)
            .await
            .problem(400, "invalid_request");
    }
    for separator in ["\n", "\r\n", "\u{2028}", "\u{85}", "\u{1b}[2K"] {
        let text = format!("x{separator}{line}");
        broker.post("/v1/app/auth").json(&json!({"client_id": text, "client_secret": "x"})).await;
        broker.revoke(&admin, "task", &text).await;
        let launch = json!({"agent_name": text, "allowed_scope": ["read:data:x"]});
        broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&launch).await;
        broker.get("/v1/health").header("x-request-id", "x | FORGED=1").await;
    }
    raw(&broker, b"GET /\x1b[2K\xffFORGED HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let events = broker.events(&admin, "").await;
    for event in &events {
        let texts = ["detail", "resource"].map(|member| event[member].as_str().unwrap_or_default());
        assert!(texts.iter().all(|text| !text.contains(|c: char| c.is_control() || c == '\u{2028}')), "{event}");
    }
    let (stopped, _directory) = broker.terminate().await;
    // The five lines of the start stand bare.
    for written in stopped.output.lines().skip(5) {
        assert!(written.starts_with("[AA:") && !written.contains("| FORGED"), "{written:?}");
        assert!(!written.contains(['\u{2028}', '\u{85}', '\u{1b}']), "{written:?}");
    }
}

async fn raw(broker: &Broker, request: &[u8]) {
    let mut connection = TcpStream::connect(broker.address()).await.unwrap();
    connection.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    // It may close without a word.
    connection.read_exact(&mut answer).await.ok();
}

#[tokio::test]
async fn secret_in_wrong_member_is_not_recorded() {
    let broker = Broker::start_with(&[("AA_LOG_LEVEL", "trace")]).await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let (agent, _) = broker.agent(&admin, &["read:data:x"]).await;
    let launch_token = broker.launch_token(&admin, &["read:data:x"]).await;
    // Common mistakes: the two halves of the credentials swapped, a token instead of its id.
    let swapped = json!({"client_id": app.client_secret, "client_secret": app.client_id});
    broker.post("/v1/app/auth").json(&swapped).await.problem(401, "unauthorized");
    for secret in [&agent, &launch_token, &app.client_secret] {
        for level in ["token", "agent", "task", "chain"] {
            assert_eq!(broker.revoke(&admin, level, secret).await.json()["revoked"], false);
        }
        broker.get(&format!("/v1/admin/apps/{secret}")).bearer(&admin).await.problem(404, "not_found");
        broker.get(&format!("/v1/{secret}")).await.problem(404, "not_found");
        broker.get(&format!("/v1/{}", percent_encoded(secret))).await.problem(404, "not_found");
    }
    let events = broker.events(&admin, "").await;
    let secrets = [agent, launch_token, app.client_secret, admin, ADMIN_SECRET.to_owned()];
    for secret in &secrets {
        let telling = events.iter().find(|event| event.to_string().contains(secret.as_str()));
        assert!(telling.is_none(), "{telling:?}");
        assert!(!broker.files_hold(secret.as_bytes()), "`{secret}` is on the disk");
    }
    let (stopped, _directory) = broker.terminate().await;
    for secret in &secrets {
        for spelling in [secret.clone(), percent_encoded(secret)] {
            let telling = stopped.output.lines().find(|line| line.contains(&spelling));
            assert!(telling.is_none(), "{telling:?}");
        }
    }
}

/// Each letter as `%xx`, which a reader of the log can decode.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"))
}
