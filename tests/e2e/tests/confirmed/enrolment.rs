//! `awrit verifier` against the real broker.

use tokio::time::Instant;

use crate::site::{BOUND, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_instances_of_running_services_until_verifier_is_removed() {
    let site = Site::one(&[]).await;
    let _service = site.service("records-api").await;
    let bound = ["--max-staleness", "6", "--clock-leeway", "1"];
    let _second = site.instance("records-api", &bound).await;
    let list = site.awrit(&["verifier", "list"]).await;
    list.is(
        0,
        "\
VERIFIER  INSTANCE  LAST REPORT  BEHIND  BOUND  KEYS  CURSOR
records-api  <jti>  <when>  0  <when>  current  <instance>.0
records-api  <jti>  <when>  0  <when>  current  <instance>.0",
        "",
    );
    let again = site.awrit(&["verifier", "add", "records-api", "--public-key", "records-api.pub.pem"]).await;
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("(409)"), "{again:?}");
    let removed = site.awrit(&["verifier", "remove", "records-api", "--yes"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    let removed = site.awrit(&["verifier", "list"]).await;
    assert_eq!(removed.stdout.matches("records-api (removed)").count(), 2, "until their leases end: {removed:?}");
}

async fn paused_service_counts_when_its_verifier_is_removed_and_enrolled_again(site: Site) {
    let service = site.service("records-api").await;
    let [agent, other] = [site.agent("taken-over").await, site.agent("good").await];
    for token in [&agent.token, &other.token] {
        service.until_status(token, 200, &[503]).await;
    }
    service.pause();
    let removed = site.awrit(&["verifier", "remove", "records-api", "--yes"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    let add = ["verifier", "add", "records-api", "--public-key", "records-api.pub.pem", "--max-bound", "1"];
    let added = site.awrit(&add).await;
    assert_eq!(added.code, 0, "{added:?}");
    let begun = Instant::now();
    let run = site.awrit(&["revoke", "--yes", "--level", "agent", "--target", &agent.id, "--wait"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("Confirmed after ") && run.stdout.contains("1 instance, 1 of them fenced."), "{run:?}");
    assert!(begun.elapsed().as_secs() >= BOUND, "{run:?}");
    service.resume();
    assert_ne!(service.status_for(&agent.token).await, 200);

    // The broker rejects its bound.
    service.until_status(&other.token, 503, &[200]).await;
    let bound = BOUND.to_string();
    let updated = site.awrit(&["verifier", "update", "records-api", "--max-bound", &bound]).await;
    assert_eq!(updated.code, 0, "{updated:?}");
    service.until_status(&other.token, 200, &[503]).await;
    service.until_status(&agent.token, 401, &[503]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_counts_paused_service_of_removed_verifier() {
    paused_service_counts_when_its_verifier_is_removed_and_enrolled_again(Site::one(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_count_paused_service_of_removed_verifier() {
    paused_service_counts_when_its_verifier_is_removed_and_enrolled_again(Site::three(&[]).await).await;
}
