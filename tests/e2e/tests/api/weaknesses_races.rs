//! Operations that must succeed once, or not at all, under real concurrency (issue 3, "exact weaknesses"): each racer has a
//! connection of its own, and the broker all its threads.

use agentwrit_e2e::{Broker, Key, Registration, Response, jti};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const RACERS: usize = 24;

async fn race(requests: impl IntoIterator<Item = agentwrit_e2e::Request>) -> Vec<Response> {
    let mut racers = JoinSet::new();
    for request in requests {
        racers.spawn(request.into_future());
    }
    racers.join_all().await
}

fn winners(answers: &[Response]) -> Vec<String> {
    let won = answers.iter().filter(|answer| answer.status == 200);
    won.map(|answer| answer.json()["access_token"].as_str().unwrap().to_owned()).collect()
}

fn launch() -> Value {
    json!({"allowed_scope": ["read:data:*"]})
}

#[tokio::test]
async fn exactly_one_of_concurrent_renewals_succeeds() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for _ in 0..5 {
        let (token, _) = broker.agent(&admin, &["read:data:x"]).await;
        let answers = race((0..RACERS).map(|_| broker.post("/v1/token/renew").bearer(&token))).await;
        let won = winners(&answers);
        assert_eq!(won.len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(401, "unauthorized", "token renewal failed");
        }
        assert!(broker.accepts(&won[0]).await && !broker.accepts(&token).await);
    }
}

#[tokio::test]
async fn exactly_one_of_concurrent_registrations_with_one_launch_token_succeeds() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for _ in 0..3 {
        let launch_token = broker.launch_token(&admin, &["read:data:x"]).await;
        let mut requests = Vec::new();
        for _ in 0..RACERS {
            let registration = Registration::new(&launch_token, &broker.nonce().await, &["read:data:x"]);
            requests.push(broker.post("/v1/register").json(&registration.0));
        }
        let answers = race(requests).await;
        assert_eq!(winners(&answers).len(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(401, "unauthorized", "launch token already consumed");
        }
    }
}

#[tokio::test]
async fn exactly_one_of_concurrent_registrations_with_one_nonce_succeeds() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "single_use": false, "ttl": 600});
    let issued = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&request).await.json();
    let nonce = broker.nonce().await;
    let requests = (0..RACERS).map(|_| {
        let registration = Registration::new(issued["launch_token"].as_str().unwrap(), &nonce, &["read:data:x"]);
        broker.post("/v1/register").json(&registration.signed(&Key::generate(), &nonce).0)
    });
    let answers = race(requests).await;
    assert_eq!(winners(&answers).len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(401, "unauthorized", "nonce already consumed");
    }
}

#[tokio::test]
async fn no_renewal_or_delegation_survives_concurrent_revocation() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for level in ["token", "agent", "task", "chain"] {
        let task = format!("task-{level}");
        let mut tokens = Vec::new();
        let agent = broker.enrol(&admin, &task, launch()).await;
        let delegate = broker.enrol(&admin, "another", launch()).await;
        for _ in 0..RACERS / 2 {
            tokens.push(broker.delegated(&agent.token, &delegate, &["read:data:*"]).await);
        }
        let body = json!({"delegate_to": delegate.id, "scope": ["read:data:x"]});
        let target = match level {
            "token" => jti(&agent.token),
            "task" => task,
            _ => agent.id.clone(),
        };
        let revoke = json!({"level": level, "target": target});
        let mut requests: Vec<_> = tokens.iter().map(|token| broker.post("/v1/token/renew").bearer(token)).collect();
        requests.insert(RACERS / 4, broker.post("/v1/revoke").bearer(&admin).json(&revoke));
        requests.extend((0..RACERS / 2).map(|_| broker.post("/v1/delegate").bearer(&agent.token).json(&body)));
        let answers = race(requests).await;
        let issued = answers.iter().filter(|answer| answer.status == 200);
        let issued = issued.filter_map(|answer| answer.json()["access_token"].as_str().map(str::to_owned));
        tokens.extend(issued);
        for token in tokens.iter().chain([&agent.token]) {
            assert!(!broker.accepts(token).await, "a token outlived the revocation by {level}");
        }
        assert!(broker.accepts(&delegate.token).await);
    }
}

#[tokio::test]
async fn no_launch_token_survives_concurrent_deregistration() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let token = broker.app_token(&app).await;
    let request = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "ttl": 600});
    let mut requests: Vec<_> =
        (0..RACERS).map(|_| broker.post("/v1/app/launch-tokens").bearer(&token).json(&request)).collect();
    let deregistration = broker.request(Method::DELETE, &format!("/v1/admin/apps/{}", app.app_id)).bearer(&admin);
    requests.insert(RACERS / 2, deregistration);
    let issued: Vec<Response> = race(requests).await.into_iter().filter(|answer| answer.status == 201).collect();
    for answer in issued {
        let body = answer.json();
        let launch_token = body["launch_token"].as_str().unwrap();
        let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
        broker.post("/v1/register").json(&registration.0).await.problem(401, "unauthorized");
    }
    assert_eq!(broker.get("/v1/admin/launch-tokens").bearer(&admin).await.json()["total"], 0);
}
