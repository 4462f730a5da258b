//! A break of the audit trail that the operator accepts: by number and hash, in the trail itself, and for this break only.

use std::fs;

use agentwrit_e2e::{Broker, alter_database, stable};
use tempfile::TempDir;

/// A broker's directory whose event 3 was altered after some use, and an export from before.
async fn tampered() -> TempDir {
    let broker = Broker::start().await;
    let register = ["app", "register", "--name", "desk", "--scopes", "read:data:*"];
    assert_eq!(broker.awrit(&register).await.code, 0);
    for _ in 0..3 {
        broker.admin_token().await;
    }
    assert_eq!(broker.awrit(&["audit", "export", "-o", "before.jsonl"]).await.code, 0);
    let (_, directory) = broker.terminate().await;
    alter_database(directory.path(), "UPDATE audit_events SET detail = 'nothing to see' WHERE seq = 3");
    directory
}

async fn accepted() -> (Broker, String) {
    let directory = tampered().await;
    let breaks = Broker::breaks_of_trail(directory.path()).await;
    let broker = Broker::start_with_arguments(directory, &[], &["--accept-broken-audit", &breaks]).await;
    (broker, breaks)
}

#[tokio::test]
async fn refusal_names_event_and_hash_that_accept_it() {
    let directory = tampered().await;
    let breaks = Broker::breaks_of_trail(directory.path()).await;
    assert_eq!(stable(&breaks), "evt-000003:<hash>");
    // Neither a bare flag nor another hash will do.
    let other = format!("evt-000003:{}", "0".repeat(64));
    for arguments in
        [&["--accept-broken-audit"][..], &["--accept-broken-audit", "true"], &["--accept-broken-audit", &other]]
    {
        let stopped = Broker::run_in(directory.path(), &[], arguments).await;
        assert!(!stopped.status.success(), "{arguments:?}: {}", stopped.output);
    }
    // The variable does what the flag does.
    Broker::start_in(directory, &[("AA_ACCEPT_BROKEN_AUDIT", &breaks)]).await;
}

#[tokio::test]
async fn acceptance_is_an_event_a_metric_and_part_of_every_verification() {
    let (broker, breaks) = accepted().await;
    let admin = broker.admin_token().await;
    let events = broker.events(&admin, "event_type=audit_break_accepted").await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(event["resource"], breaks.as_str());
    assert_eq!(event["agent_id"], "admin");
    assert_eq!(event["detail"], "break of the audit trail accepted: `evt-000003` was altered");
    let metrics = broker.get("/v1/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("\nagentwrit_audit_breaks_accepted 1\n"));
    assert!(broker.output().contains("a break of the audit trail is accepted"), "{}", broker.output());

    let run = broker.awrit(&["audit", "verify"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let id = event["id"].as_str().unwrap();
    assert!(
        run.stdout.contains("chain     holds from the first event on, except for 1 accepted break\n"),
        "{}",
        run.stdout
    );
    let report = format!("accepted  `evt-000003` was altered; {id} accepts the break {breaks}\n");
    assert!(run.stdout.contains(&report), "{}", run.stdout);
    let json = broker.awrit(&["audit", "verify", "--json"]).await.json();
    assert_eq!((&json["holds"], &json["accepted_breaks"][0]["break"]), (&true.into(), &breaks.as_str().into()));

    let export = broker.awrit(&["audit", "export", "-o", "after.jsonl"]).await;
    assert_eq!(export.code, 0, "{}", export.stderr);
    assert!(
        export.stderr.contains(&format!("except for `evt-000003` was altered, accepted by {id}")),
        "{}",
        export.stderr
    );
    assert_eq!(broker.awrit(&["audit", "verify", "after.jsonl"]).await.code, 0);
    // An export from before the tampering shows that it was altered, accepted or not.
    let compared = broker.awrit(&["audit", "verify", "after.jsonl", "--continues", "before.jsonl"]).await;
    assert_eq!(compared.code, 3, "{}", compared.stdout);
    // A later one is a new base.
    broker.admin_token().await;
    assert_eq!(broker.awrit(&["audit", "export", "-o", "later.jsonl"]).await.code, 0);
    let compared = broker.awrit(&["audit", "verify", "later.jsonl", "--continues", "after.jsonl"]).await;
    assert_eq!(compared.code, 0, "{}", compared.stdout);
}

#[tokio::test]
async fn later_starts_need_no_flag_and_new_tampering_is_refused_again() {
    let (broker, breaks) = accepted().await;
    let (_, directory) = broker.terminate().await;
    let broker = Broker::start_in(directory, &[]).await;
    assert!(broker.output().contains("the audit trail has a break that was accepted"), "{}", broker.output());
    let (_, directory) = broker.terminate().await;
    // A flag that stayed in a unit file changes nothing, and records nothing again.
    let broker = Broker::start_with_arguments(directory, &[], &["--accept-broken-audit", &breaks]).await;
    let admin = broker.admin_token().await;
    assert_eq!(broker.events(&admin, "event_type=audit_break_accepted").await.len(), 1);
    let (_, directory) = broker.terminate().await;
    for (seq, detail) in [(3, "another lie"), (4, "nothing either")] {
        let backup = fs::read(directory.path().join("data.db")).unwrap();
        alter_database(directory.path(), &format!("UPDATE audit_events SET detail = '{detail}' WHERE seq = {seq}"));
        let stopped = Broker::run_in(directory.path(), &[], &["--accept-broken-audit", &breaks]).await;
        assert!(!stopped.status.success(), "event {seq}: {}", stopped.output);
        let named = format!("`evt-{seq:06}` was altered");
        assert!(stopped.output.contains(&named), "event {seq}: {}", stopped.output);
        fs::write(directory.path().join("data.db"), backup).unwrap();
    }
    Broker::start_in(directory, &[]).await;
}

#[tokio::test]
async fn other_commands_accept_a_break_in_the_same_way() {
    let directory = tampered().await;
    let breaks = Broker::breaks_of_trail(directory.path()).await;
    let marked = Broker::run_in(directory.path(), &[], &["mark-restored"]).await;
    assert!(!marked.status.success() && marked.output.contains(&breaks), "{}", marked.output);
    let marked = Broker::run_in(directory.path(), &[], &["--accept-broken-audit", &breaks, "mark-restored"]).await;
    assert!(marked.status.success(), "{}", marked.output);
    Broker::start_in(directory, &[]).await;
}
