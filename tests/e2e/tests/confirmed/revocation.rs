//! `awrit revoke --wait` while a service is paused.

use serde_json::Value;
use tokio::time::Instant;

use crate::site::{BOUND, Site};

/// Statuses of a service that has not applied a change, or has no fresh list.
const NOT_YET: [u16; 2] = [200, 503];

async fn names_paused_service_counts_it_fenced_and_exits_with_0(site: Site) {
    let services =
        [site.service("payments-api").await, site.service("records-api").await, site.service("reports-api").await];
    let [agent, other] = [site.agent("taken-over").await, site.agent("good").await];
    for service in &services {
        service.until_status(&agent.token, 200, &[503]).await;
    }
    let [payments, records, reports] = &services;
    reports.pause();
    let begun = Instant::now();
    let run = site.awrit(&["revoke", "--yes", "--level", "agent", "--target", &agent.id, "--wait"]).await;
    let took = begun.elapsed().as_secs();
    // Before the service goes on: the others have confirmed.
    for service in [payments, records] {
        assert_eq!(service.status_for(&agent.token).await, 401, "{}", service.name);
    }
    assert_eq!(run.code, 0, "{run:?}");
    let line = |start: &str| run.stdout.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
    let [waiting, fenced] = line("  reports-api")[..] else { panic!("{run:?}") };
    assert!(waiting.contains("0/1 confirmed  1 pending (last report "), "{run:?}");
    assert!(fenced.contains(", 1 fenced: rejects every token since "), "{run:?}");
    assert!(line("  payments-api")[0].starts_with("  payments-api  1/1 confirmed  "), "{run:?}");
    let summary = line("Confirmed after ")[0];
    assert!(summary.contains(" by 3 instances, 1 of them fenced."), "{run:?}");
    assert!((BOUND..BOUND + 5).contains(&took), "{took} s: {run:?}");

    reports.resume();
    reports.until_status(&agent.token, 401, &[503]).await;
    // The pause ended nothing else.
    for service in &services {
        service.until_status(&other.token, 200, &[503]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_names_paused_service_and_counts_it_fenced() {
    names_paused_service_counts_it_fenced_and_exits_with_0(Site::one(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_name_paused_service_and_count_it_fenced() {
    names_paused_service_counts_it_fenced_and_exits_with_0(Site::three(&[]).await).await;
}

async fn exits_with_3_while_service_without_bound_is_paused(site: Site) {
    let (bounded, unbounded) = (site.service("records-api").await, site.service_without_bound("batch-api").await);
    let agent = site.agent("taken-over").await;
    for service in [&bounded, &unbounded] {
        service.until_status(&agent.token, 200, &[503]).await;
    }
    unbounded.pause();
    let revoke = ["revoke", "--yes", "--level", "agent", "--target", &agent.id, "--wait=2s", "--json"];
    let run = site.awrit(&revoke).await;
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stderr.starts_with("awrit: not confirmed: batch-api: 1 pending without a bound"), "{run:?}");
    let response: Value = serde_json::from_str(&run.stdout).unwrap();
    let confirmation = &response["confirmation"];
    assert_eq!((&confirmation["state"], &confirmation["confirmed"]), (&"unbounded".into(), &1.into()), "{run:?}");
    assert_eq!(confirmation["pending"][0]["verifier"], "batch-api");
    let cursor = response["cursor"].as_str().unwrap();

    unbounded.resume();
    unbounded.until_status(&agent.token, 401, &NOT_YET).await;
    let run = site.awrit(&["confirmation", cursor, "--wait=20s"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let run = site.awrit(&["confirmation", cursor, "--evidence"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.starts_with("Proved for 2 instances: 2 reported the cursor, 0 fenced.\nDigest "), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_exits_with_3_while_service_without_bound_is_paused() {
    exits_with_3_while_service_without_bound_is_paused(Site::one(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_exit_with_3_while_service_without_bound_is_paused() {
    exits_with_3_while_service_without_bound_is_paused(Site::three(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirms_within_a_second_when_all_services_run_and_waits_for_none_that_left() {
    let site = Site::one(&[]).await;
    let (records, leaving) = (site.service("records-api").await, site.service("payments-api").await);
    let agent = site.agent("taken-over").await;
    records.until_status(&agent.token, 200, &[503]).await;
    leaving.leave().await;
    let revoke = ["revoke", "--yes", "--level", "agent", "--target", &agent.id, "--wait", "--json"];
    let response = site.awrit(&revoke).await.json();
    let confirmation = &response["confirmation"];
    let numbers = ["verifiers", "confirmed", "fenced"].map(|member| confirmation[member].as_u64().unwrap());
    assert_eq!(numbers, [1, 1, 0], "{response}");
    assert!(confirmation["elapsed_ms"].as_u64().unwrap() < 1000, "{response}");
    assert_eq!(records.status_for(&agent.token).await, 401);
}

#[tokio::test]
async fn dry_run_counts_tokens_and_revokes_none() {
    let site = Site::one(&[]).await;
    let agent = site.agent("task-1").await;
    let preview = ["revoke", "--level", "agent", "--target", &agent.id, "--dry-run"];
    let run = site.awrit(&preview).await;
    let expected =
        format!("Revoking agent {} would end 1 active token: 1 agent, 1 task. Nothing was revoked.\n", agent.id);
    assert_eq!((run.code, run.stdout, run.stderr.as_str()), (0, expected, ""));
    assert!(site.broker(0).accepts(&agent.token).await);
    let unknown = site.awrit(&["revoke", "--level", "task", "--target", "no-such-task", "--dry-run"]).await;
    unknown.is(3, "", "awrit: the broker knows no task `no-such-task`; nothing was revoked");
}
