//! `awrit verifier` against the real broker.

use crate::site::Site;

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
