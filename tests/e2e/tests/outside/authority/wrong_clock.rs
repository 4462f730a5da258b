//! B1 and B2: a wrong clock neither revives what was revoked nor locks everybody out in silence. The program reads the
//! system's clock, so these tests move the times in its database instead: dated back, they make the clock look ahead.
//! The state machine itself: `clock::certain::tests`, `service::tests::clock` and `maintenance::restore::tests` of the broker.

use std::path::Path;

use agentwrit_e2e::{Broker, alter_database, rows_of_tables};
use serde_json::json;

/// Three hours and two days, in microseconds.
const THREE_HOURS: u64 = 3 * 3600 * 1_000_000;
const TWO_DAYS: u64 = 2 * 86_400 * 1_000_000;

async fn metric(broker: &Broker, name: &str) -> u64 {
    let text = String::from_utf8(broker.get("/v1/metrics").await.body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    value.parse().unwrap()
}

#[tokio::test]
async fn start_with_clock_ahead_holds_and_reports_deletions_until_clock_is_confirmed() {
    let broker = Broker::start().await;
    let admin = broker.admin_token().await;
    let agent = broker.enrol(&admin, "task-1", json!({"allowed_scope": ["read:data:x"], "max_ttl": 1800})).await;
    broker.revoked(&admin, "agent", &agent.id).await;
    let revocations = |broker: &Broker| broker.stored_rows()["revocations"];
    let kept = revocations(&broker);
    let (_, directory) = broker.terminate().await;
    // As if all of it had happened three hours ago: the token has expired by the clock, but not for certain.
    alter_database(
        directory.path(),
        &format!(
            "UPDATE meta SET certain_time = certain_time - {THREE_HOURS};
             UPDATE tokens SET issued_at = issued_at - {THREE_HOURS}, expires_at = expires_at - {THREE_HOURS};
             UPDATE revocations SET revoked_at = revoked_at - {THREE_HOURS}, expires_at = expires_at - {THREE_HOURS};"
        ),
    );
    let broker = Broker::start_in(directory, &[]).await;
    broker.says("deletions are held: the clock is ahead of the time that has passed for certain").await;
    let health = broker.get("/v1/health").await;
    assert_eq!((health.status, &health.json()["warnings"]), (200, &json!(["deletion_held"])));
    let shown = broker.awrit(&["health"]).await;
    assert!(shown.code == 0 && shown.stdout.contains("deletion_held"), "{}", shown.stdout);
    let held = metric(&broker, "agentwrit_deletion_held_seconds").await;
    assert!((10_700..10_900).contains(&held), "{held}");
    assert_eq!(revocations(&broker), kept);

    let (_, directory) = broker.terminate().await;
    let confirmed = Broker::run_in(directory.path(), &[], &["confirm-clock"]).await;
    assert!(confirmed.status.success() && confirmed.output.starts_with("clock confirmed"), "{}", confirmed.output);
    let broker = Broker::start_in(directory, &[]).await;
    assert!(broker.get("/v1/health").await.json().get("warnings").is_none());
    assert_eq!(metric(&broker, "agentwrit_deletion_held_seconds").await, 0);
}

#[tokio::test]
async fn refuses_mark_restored_when_the_clock_does_not_fit_the_newest_record() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let (_, directory) = broker.terminate().await;
    let mark = |arguments: &'static [&'static str]| Broker::run_in(directory.path(), &[], arguments);
    assert!(mark(&["mark-restored"]).await.status.success());
    for (by, complaint) in
        [("- ", "a mark from a clock that is ahead"), ("+ 2 * ", "a mark from a clock that is behind")]
    {
        alter_database(directory.path(), &format!("UPDATE revocations SET revoked_at = revoked_at {by}{TWO_DAYS}"));
        alter_database(directory.path(), "DELETE FROM audit_events; DELETE FROM audit_runs");
        let refused = mark(&["mark-restored"]).await;
        assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
        assert!(refused.output.contains(complaint), "{}", refused.output);
        assert!(refused.output.contains("--clock-is-right"), "{}", refused.output);
    }
    let corrected = mark(&["mark-restored", "--clock-is-right"]).await;
    assert!(corrected.status.success(), "{}", corrected.output);
    assert!(corrected.output.contains("marks of a later time taken back: 1\n"), "{}", corrected.output);
}

#[tokio::test]
async fn login_is_503_with_logged_reason_while_mark_is_ahead_and_200_after_correction() {
    let broker = Broker::start().await;
    let (_, directory) = broker.terminate().await;
    assert!(Broker::run_in(directory.path(), &[], &["mark-restored"]).await.status.success());
    alter_database(directory.path(), &format!("UPDATE revocations SET revoked_at = revoked_at + {TWO_DAYS}"));
    let broker = Broker::start_in(directory, &[]).await;
    broker.says("the clock is behind the newest record").await;
    let body = json!({"secret": agentwrit_e2e::ADMIN_SECRET});
    let refused = broker.post("/v1/admin/auth").json(&body).await;
    let hint = refused.refused(503, "unavailable", "the broker's clock is wrong");
    assert_eq!(hint.as_deref(), Some("nothing was done; the operator has to look at the broker's log"));
    assert_eq!(refused.header("retry-after"), Some("60"));
    broker.says("behind a not-before mark").await;
    let health = broker.get("/v1/health").await;
    assert_eq!((health.status, &health.json()["warnings"]), (200, &json!(["clock_behind_records"])));
    assert!(metric(&broker, "agentwrit_clock_behind_seconds").await > 172_000);

    let (_, directory) = broker.terminate().await;
    let corrected = Broker::run_in(directory.path(), &[], &["mark-restored", "--clock-is-right"]).await;
    assert!(corrected.status.success(), "{}", corrected.output);
    let broker = Broker::start_in(directory, &[]).await;
    let token = broker.admin_token().await;
    assert!(broker.accepts(&token).await);
    assert!(broker.get("/v1/health").await.json().get("warnings").is_none());
}

/// Moves the recorded times of a stopped broker back by two days: the clock then looks two days ahead.
fn date_back(directory: &Path) {
    alter_database(
        directory,
        &format!(
            "UPDATE meta SET certain_time = certain_time - {TWO_DAYS};
             UPDATE audit_events SET at = at - {TWO_DAYS};
             UPDATE tokens SET issued_at = issued_at - {TWO_DAYS}, expires_at = expires_at - {TWO_DAYS};"
        ),
    );
}

/// Expects `mark-restored` to be refused because the clock is ahead, and to leave the database as it was.
async fn refuses_mark_of_clock_ahead(directory: &Path, arguments: &[&str]) {
    let before = rows_of_tables(directory);
    let refused = Broker::run_in(directory, &[], arguments).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.output);
    assert!(refused.output.contains("a mark from a clock that is ahead"), "{}", refused.output);
    assert_eq!(rows_of_tables(directory), before);
}

#[tokio::test]
async fn refuses_mark_restored_with_clock_ahead_also_when_it_accepts_a_broken_audit_trail() {
    let broker = Broker::start().await;
    broker.admin_token().await;
    let (_, directory) = broker.terminate().await;
    date_back(directory.path());
    let breaks = Broker::breaks_of_trail(directory.path()).await;
    let flags = ["--accept-broken-audit", &breaks, "mark-restored"];
    refuses_mark_of_clock_ahead(directory.path(), &flags).await;
    refuses_mark_of_clock_ahead(directory.path(), &flags).await;
    let marked = Broker::run_in(directory.path(), &[], &[&flags[..], &["--clock-is-right"]].concat()).await;
    assert!(marked.status.success(), "{}", marked.output);
    // The mark's transaction recorded the acceptance: the start needs no flag.
    Broker::start_in(directory, &[]).await;
}

#[tokio::test]
async fn refuses_mark_restored_with_clock_ahead_after_a_wrong_login_was_recorded_with_its_time() {
    let (_, directory) = Broker::start().await.terminate().await;
    date_back(directory.path());
    let broker = Broker::start_in(directory, &[]).await;
    let wrong = json!({"secret": "not the secret of the operator"});
    broker.post("/v1/admin/auth").json(&wrong).await.refused(401, "unauthorized", "invalid credentials");
    let (_, directory) = broker.terminate().await;
    refuses_mark_of_clock_ahead(directory.path(), &["mark-restored"]).await;
}
