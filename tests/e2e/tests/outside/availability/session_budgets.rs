//! A credential that is used in a loop meets a budget: 429 with `Retry-After`, and nothing is written.

use agentwrit_e2e::{Broker, Registration, Response, jti};
use serde_json::json;

fn retry_after(answer: &Response) -> u64 {
    answer.header("retry-after").expect("a 429 says when").parse().unwrap()
}

/// Renews until that is refused; how often it succeeded, the last token and the refusal.
async fn renew_in_a_loop(broker: &Broker, token: &str) -> (usize, String, Response) {
    let mut token = token.to_owned();
    for renewals in 0..500 {
        let answer = broker.renew(&token).await;
        if answer.status != 200 {
            return (renewals, token, answer);
        }
        answer.json()["access_token"].as_str().unwrap().clone_into(&mut token);
    }
    panic!("500 renewals in a row were not refused");
}

async fn rate_limited(broker: &Broker, limit: &str) -> u64 {
    let metrics = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    let series = format!("agentwrit_rate_limited_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).expect("the metric").parse().unwrap()
}

#[tokio::test]
async fn rejects_renewals_in_loop_with_429_and_stores_nothing() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let [looping, other] = [0, 1].map(|_| broker.agent(&admin, &["read:data:x"]));
    let ((looping, _), (other, _)) = (looping.await, other.await);
    let (renewals, last, refused) = renew_in_a_loop(&broker, &looping).await;
    assert!((20..40).contains(&renewals), "20 at once, then one a second: {renewals}");
    refused.refused(429, "rate_limited", "this session renews too often");
    assert_eq!(retry_after(&refused), 1);
    assert!(rate_limited(&broker, "renewals").await >= 1);

    assert!(broker.accepts(&last).await, "a refused renewal leaves the token as it is");
    let feed = broker.get("/v1/revocations").await.header("etag").unwrap().to_owned();
    let mut written = 0;
    for _ in 0..50 {
        written += usize::from(broker.renew(&last).await.status == 200);
    }
    if written == 0 {
        assert_eq!(broker.get("/v1/revocations").await.header("etag"), Some(feed.as_str()));
    }
    assert_eq!(broker.renew(&other).await.status, 200, "each session has its own budget");
    assert_eq!(broker.release(&last).await.status, 204, "a token can always be given back");
}

#[tokio::test]
async fn rejected_tokens_do_not_draw_on_session_budget() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let (first, _) = broker.agent(&admin, &["read:data:x"]).await;
    let second = broker.renewed(&first).await;
    let forged = format!("{}.{}", second.rsplit_once('.').unwrap().0, "A".repeat(86));
    for dead in [&first, &forged] {
        for _ in 0..60 {
            broker.renew(dead).await.refused(401, "unauthorized", "token renewal failed");
        }
    }
    let (renewals, ..) = renew_in_a_loop(&broker, &second).await;
    assert!(renewals >= 19, "19 of 20 are left: {renewals}");
}

#[tokio::test]
async fn rejects_delegations_in_loop_with_429() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = json!({"allowed_scope": ["read:data:x"]});
    let lead = broker.enrol(&admin, "task-1", launch.clone()).await;
    let helper = broker.enrol(&admin, "task-1", launch).await;
    let mut delegations = 0;
    let refused = loop {
        let answer = broker.delegate(&lead.token, &helper, &["read:data:x"]).await;
        if answer.status != 200 {
            break answer;
        }
        delegations += 1;
        assert!(delegations < 500, "500 delegations in a row were not refused");
    };
    assert!(delegations >= 100, "100 at once, then five a second: {delegations}");
    refused.refused(429, "rate_limited", "this session delegates too often");
    assert_eq!(retry_after(&refused), 1);
    assert!(rate_limited(&broker, "delegations").await >= 1);
    assert_eq!(broker.delegate(&helper.token, &lead, &["read:data:x"]).await.status, 200);
}

#[tokio::test]
async fn rejects_registrations_in_loop_by_one_launch_token_with_429() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let launch = json!({"agent_name": "a", "allowed_scope": ["read:data:x"], "single_use": false, "ttl": 600});
    let issued = broker.post("/v1/admin/launch-tokens").bearer(&admin).json(&launch).await.json();
    let launch_token = issued["launch_token"].as_str().unwrap();
    let mut registrations = 0;
    let refused = loop {
        let registration = Registration::new(launch_token, &broker.nonce().await, &["read:data:x"]);
        let answer = broker.post("/v1/register").json(&registration.0).await;
        if answer.status != 200 {
            break (answer, registration);
        }
        registrations += 1;
        assert!(registrations < 3000, "3,000 registrations in a row were not refused");
    };
    assert!(registrations >= 500, "500 at once, then 50 a second: {registrations}");
    refused.0.refused(429, "rate_limited", "this launch token registers too often");
    assert_eq!(retry_after(&refused.0), 1);
    // Nothing was consumed: the same registration goes through when its time has come.
    tokio::time::sleep(std::time::Duration::from_secs(retry_after(&refused.0))).await;
    assert_eq!(broker.post("/v1/register").json(&refused.1.0).await.status, 200);
    broker.agent(&admin, &["read:data:x"]).await;
}

#[tokio::test]
async fn session_budget_is_configurable() {
    let broker = Broker::start_with(&[("AA_SESSION_BUDGET", "3/1")]).await;
    let admin = broker.admin_token().await;
    let (token, _) = broker.agent(&admin, &["read:data:x"]).await;
    let (renewals, ..) = renew_in_a_loop(&broker, &token).await;
    assert!((3..20).contains(&renewals), "{renewals}");

    let broker = Broker::start_with(&[("AA_SESSION_BUDGET", "off")]).await;
    let admin = broker.admin_token().await;
    let (mut token, _) = broker.agent(&admin, &["read:data:x"]).await;
    let first = jti(&token);
    for _ in 0..60 {
        token = broker.renewed(&token).await;
    }
    assert_eq!(agentwrit_e2e::payload(&token)["sid"], json!(first));

    let refused = Broker::refuses_to_start(&[("AA_SESSION_BUDGET", "many")]).await;
    assert!(
        refused.output.contains("AA_SESSION_BUDGET (environment) is `many`: it accepts renewals at once"),
        "{}",
        refused.output
    );
}
