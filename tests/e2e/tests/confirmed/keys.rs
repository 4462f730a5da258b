//! `awrit keys` while services report.

use std::time::Duration;

use agentwrit_e2e::protected_header;
use tokio::time::{Instant, sleep};

use crate::site::Site;

pub(crate) fn kid(token: &str) -> String {
    protected_header(token)["kid"].as_str().unwrap().to_owned()
}

async fn withdrawal_is_confirmed_and_key_rejected_by_paused_service(site: Site) {
    let (records, reports) = (site.service("records-api").await, site.service("reports-api").await);
    let agent = site.agent("before").await;
    for service in [&records, &reports] {
        service.until_status(&agent.token, 200, &[503]).await;
    }
    reports.pause();
    let old = kid(&agent.token);
    let run = site.awrit(&["keys", "withdraw", &old, "--yes", "--reason", "in a stolen backup", "--wait"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("  reports-api  0/1 confirmed  "), "{run:?}");
    assert!(run.stdout.contains(" by 2 instances, 1 of them fenced."), "{run:?}");
    assert_eq!(records.status_for(&agent.token).await, 401);
    reports.resume();
    reports.until_status(&agent.token, 401, &[503]).await;
    let next = site.agent("after").await;
    assert_ne!(kid(&next.token), old);
    for service in [&records, &reports] {
        service.until_status(&next.token, 200, &[503]).await;
    }
    let list = site.awrit(&["keys", "list", "--json"]).await.json();
    let state = |kid: &str| {
        let keys = list["keys"].as_array().unwrap();
        keys.iter().find(|key| key["kid"] == kid).map(|key| key["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(&old).as_deref(), Some("withdrawn"), "{list}");
    assert_eq!(state(&kid(&next.token)).as_deref(), Some("active"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_confirms_withdrawal_with_paused_service() {
    withdrawal_is_confirmed_and_key_rejected_by_paused_service(Site::one(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_confirm_withdrawal_with_paused_service() {
    withdrawal_is_confirmed_and_key_rejected_by_paused_service(Site::three(&[]).await).await;
}

async fn rotation_refuses_no_token(site: Site) {
    let service = site.service("records-api").await;
    let before = site.agent("before").await;
    service.until_status(&before.token, 200, &[503]).await;
    let run = site.awrit(&["keys", "rotate", "--reason", "quarterly", "--wait=20s", "--json"]).await;
    let prepared = run.json();
    assert_eq!(
        (prepared["state"].as_str(), prepared["confirmation"]["state"].as_str()),
        (Some("prepared"), Some("confirmed"))
    );
    let begun = Instant::now();
    let after = loop {
        let agent = site.agent("during").await;
        assert_eq!(service.status_for(&agent.token).await, 200);
        if prepared["kid"] == kid(&agent.token) {
            break agent;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the new key is not active");
        sleep(Duration::from_millis(200)).await;
    };
    for token in [&before.token, &after.token] {
        assert_eq!(service.status_for(token).await, 200);
    }
    let list = site.awrit(&["keys", "list"]).await;
    list.is(
        0,
        "\
KID  STATE  CREATED  SIGNS  NEXT
<kid>  retiring  <when>  <when>  retired <when>
<kid>  active  <when>  <when>  -",
        "",
    );
    let early = site.awrit(&["keys", "retire", &kid(&before.token)]).await;
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.stderr.contains("(409)"), "{early:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_of_one_broker_refuses_no_token() {
    rotation_refuses_no_token(Site::one(&[("AA_KEY_PREPARE_FOR", "2")]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_of_three_brokers_refuses_no_token() {
    rotation_refuses_no_token(Site::three(&[("AA_KEY_PREPARE_FOR", "2")]).await).await;
}
