//! Races with exact winners. Renewals, launch tokens and nonces race in `tests/api/weaknesses_races.rs`; these are the
//! races between different operations.

use agentwrit_e2e::{Broker, Registration, Request, Response};
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

/// Three logins each stay within the limit of one address.
const ROUNDS: usize = 8;
const RACERS: usize = 16;

async fn race(requests: Vec<Request>) -> Vec<Response> {
    let mut racers = JoinSet::new();
    for (place, request) in requests.into_iter().enumerate() {
        racers.spawn(async move { (place, request.await) });
    }
    let mut answers = racers.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn token(answer: &Response) -> Option<String> {
    (answer.status == 200).then(|| answer.json()["access_token"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_concurrent_registration_consumes_launch_token_and_nonce() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for _ in 0..ROUNDS {
        let registration = broker.registration(&admin, &["read:data:x"]).await;
        let before = broker.stored_rows();
        let answers = race((0..RACERS).map(|_| broker.post("/v1/register").json(&registration.0)).collect()).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.refused(401, "unauthorized", "launch token already consumed");
        }
        let after = broker.stored_rows();
        for table in ["agents", "tokens", "spent_nonces"] {
            assert_eq!(after[table], before[table] + 1, "{table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revocation_ends_session_in_any_order_with_renewal() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (mut renewal_first, mut revocation_first) = (0, 0);
    for round in 0..2 * ROUNDS {
        let (old, id) = broker.agent(&admin, &["read:data:x"]).await;
        let (level, target) = if round % 2 == 0 { ("token", agentwrit_e2e::jti(&old)) } else { ("agent", id) };
        let revocation = broker.post("/v1/revoke").bearer(&admin).json(&json!({"level": level, "target": target}));
        let renewal = broker.post("/v1/token/renew").bearer(&old);
        let requests = if round % 3 == 0 { vec![renewal, revocation] } else { vec![revocation, renewal] };
        let answers = race(requests).await;
        let (renewal, revocation) =
            if round % 3 == 0 { (&answers[0], &answers[1]) } else { (&answers[1], &answers[0]) };
        revocation
            .expect(200, json!({"revoked": true, "level": level, "target": target, "count": 1, "cursor": "$cursor"}));
        if let Some(renewed) = token(renewal) {
            renewal_first += 1;
            assert!(!broker.accepts(&renewed).await, "a renewal outlived the revocation by {level}");
            assert_eq!(broker.renew(&renewed).await.status, 401);
        } else {
            revocation_first += 1;
            renewal.refused(401, "unauthorized", "token renewal failed");
        }
        assert!(!broker.accepts(&old).await);
    }
    println!("the renewal was first {renewal_first} times, the revocation {revocation_first} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_release_and_renewal_leave_at_most_one_token() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for _ in 0..ROUNDS {
        let (old, _) = broker.agent(&admin, &["read:data:x"]).await;
        let requests = vec![
            broker.post("/v1/token/renew").bearer(&old),
            broker.post("/v1/token/release").bearer(&old),
            broker.post("/v1/token/renew").bearer(&old),
            broker.post("/v1/token/release").bearer(&old),
        ];
        let answers = race(requests).await;
        for release in [&answers[1], &answers[3]] {
            assert_eq!(release.status, 204, "releasing what has ended is done already");
        }
        let renewed: Vec<String> = [&answers[0], &answers[2]].into_iter().filter_map(token).collect();
        assert!(renewed.len() <= 1);
        assert!(!broker.accepts(&old).await);
        for token in renewed {
            assert!(broker.accepts(&token).await, "the release was of the old token only");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_app_token_survives_concurrent_deregistration() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for round in 0..ROUNDS {
        let app = broker.create_app(&admin, &format!("desk-{round}"), &["read:data:*"]).await;
        let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
        let deregistration = broker.request(Method::DELETE, &format!("/v1/admin/apps/{}", app.app_id)).bearer(&admin);
        let answers = race(vec![
            broker.post("/v1/app/auth").json(&login),
            deregistration,
            broker.post("/v1/app/auth").json(&login),
        ])
        .await;
        assert_eq!(answers[1].status, 200);
        for answer in [&answers[0], &answers[2]] {
            match token(answer) {
                Some(issued) => assert!(!broker.accepts(&issued).await, "an app's token outlived its app"),
                None => _ = answer.refused(401, "unauthorized", "invalid credentials"),
            }
        }
        broker.post("/v1/app/auth").json(&login).await.refused(401, "unauthorized", "invalid credentials");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_concurrent_app_gets_name() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    for round in 0..ROUNDS {
        let body = json!({"name": format!("desk-{round}"), "scopes": ["read:data:*"]});
        let creations = (0..RACERS).map(|_| broker.post("/v1/admin/apps").bearer(&admin).json(&body)).collect();
        let answers = race(creations).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.refused(409, "conflict", "an active app of that name exists");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn narrowed_ceiling_applies_to_all_later_requests() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let path = format!("/v1/admin/apps/{}", app.app_id);
    let bearer = broker.app_token(&app).await;
    for _ in 0..ROUNDS {
        let wide = json!({"scopes": ["read:data:*"]});
        assert_eq!(broker.request(Method::PUT, &path).bearer(&admin).json(&wide).await.status, 200);
        let launch = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "single_use": false});
        let launch = broker.post("/v1/app/launch-tokens").bearer(&bearer).json(&launch).await.json();
        let launch_token = launch["launch_token"].as_str().unwrap();
        let mut requests =
            vec![broker.request(Method::PUT, &path).bearer(&admin).json(&json!({"scopes": ["read:data:y"]}))];
        for _ in 0..RACERS / 2 {
            let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
            requests.push(broker.post("/v1/register").json(&registration.0));
        }
        let answers = race(requests).await;
        assert_eq!(answers[0].status, 200);
        for answer in &answers[1..] {
            match token(answer) {
                // It came first; but it ends with what it has.
                Some(issued) => _ = broker.renew(&issued).await.problem(403, "scope_violation"),
                None => _ = answer.problem(403, "scope_violation"),
            }
        }
    }
}
