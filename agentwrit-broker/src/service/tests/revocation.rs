//! Ended tokens stay ended, whatever the clock.

use super::*;

#[tokio::test]
async fn keeps_revocations_at_every_level_when_clock_is_set_back() {
    let test = TestServices::new().await;
    let mut ended = Vec::new();
    for (level, task) in [(Level::Token, "a"), (Level::Agent, "b"), (Level::Task, "c"), (Level::Chain, "d")] {
        let agent = test.enrol(task, 86_400).await;
        let target = match level {
            Level::Token => test.bearer(&agent.token).token_id().to_string(),
            Level::Task => task.to_owned(),
            Level::Agent | Level::Chain | Level::Session | Level::Issuer => agent.id.to_string(),
        };
        assert_eq!(test.revoke(level, target).await, Revoked { revoked: true, count: 1 });
        ended.push(agent.token);
    }
    let hour = Duration::from_secs(3600);
    let now = test.services.ledger.clock.now();
    for moment in [UnixTime::since_epoch(START.saturating_sub(hour)), now.saturating_add(hour), now] {
        test.clock.set(moment);
        test.services.housekeeping.delete_expired().await.unwrap();
        for token in &ended {
            assert!(test.verify(token).is_err());
        }
    }
}

#[tokio::test]
async fn revokes_session_by_its_first_token_after_that_was_deleted() {
    let test = TestServices::new().await;
    let leaked = test.enrol("task", 100).await;
    let first = test.bearer(&leaked.token);
    test.clock.advance(Duration::from_secs(90));
    let stolen = test.renew(&first).await.unwrap().access_token;
    test.clock.advance(Duration::from_secs(20));
    test.services.housekeeping.delete_expired().await.unwrap();
    assert!(test.verify(&stolen).is_ok());
    assert_eq!(test.revoke(Level::Token, first.token_id()).await, Revoked { revoked: true, count: 1 });
    assert!(matches!(test.verify(&stolen), Err(VerifyError::Revoked { level: Level::Session, .. })));
}

#[tokio::test]
async fn keeps_agent_barred_after_its_mark_expired() {
    let test = TestServices::new().await;
    let (barred, other) = (test.enrol("task", 1000).await, test.enrol("task", 1000).await);
    test.revoke(Level::Agent, &barred.id).await;
    test.clock.advance(Duration::from_secs(900));
    test.services.housekeeping.delete_expired().await.unwrap();
    let rejected = test.delegate(&test.bearer(&other.token), &barred, 60).await;
    assert_eq!(rejected.unwrap_err(), Error::DelegateUnknown);
}

#[tokio::test]
async fn drops_feed_entry_at_the_moment_of_its_expiry() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 100).await;
    let claims = test.bearer(&agent.token);
    test.revoke(Level::Agent, &agent.id).await;
    let entries = async |test: &TestServices| {
        let answer = test.services.feed.since(None, Duration::ZERO, CLIENT).await.unwrap();
        let document = answer.document.text();
        let payload = document.split('.').nth(1).unwrap();
        let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        payload["entries"].as_array().unwrap().len()
    };
    test.clock
        .set(UnixTime::since_epoch(claims.expires_at().elapsed_since_epoch().saturating_sub(Duration::from_nanos(1))));
    assert_eq!(entries(&test).await, 1);
    test.expire(&claims);
    assert_eq!(entries(&test).await, 0, "before any housekeeping");
}

#[tokio::test]
async fn event_leaves_out_revocation_target_that_may_be_a_secret() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 100).await;
    let unknown = "spiffe://agentwrit.local/agent/orch/task/0123456789abcdef";
    for (level, target, recorded) in [
        (Level::Token, agent.token.as_str(), "malformed"),
        (Level::Agent, &agent.token, "malformed"),
        (Level::Task, &agent.token, "malformed"),
        (Level::Chain, &agent.token, "malformed"),
        (Level::Task, &"ab".repeat(32), "malformed"),
        (Level::Task, "task-l", "task-l"),
        (Level::Agent, unknown, unknown),
    ] {
        assert_eq!(test.revoke(level, target).await, Revoked { revoked: false, count: 0 });
        let event = test.trail().await.pop().unwrap();
        assert!(event.detail.contains(&format!("level={level} target={recorded} ")), "{}", event.detail);
        assert_eq!(event.resource, (recorded != "malformed").then(|| recorded.to_owned()));
    }
}

#[tokio::test]
async fn dry_run_counts_what_revocation_ends_and_changes_nothing() {
    let test = TestServices::new().await;
    let (root, delegate) = (test.enrol("task-a", 100).await, test.enrol("task-b", 100).await);
    let delegated = test.delegate(&test.bearer(&root.token), &delegate, 50).await.unwrap().access_token;
    let tokens = [&root.token, &delegate.token, &delegated];
    let of_root = test.bearer(&root.token).token_id().to_string();
    // Level, target, tokens, agents, tasks.
    for (level, target, count, agents, tasks) in [
        (Level::Token, of_root.clone(), 2, 2, 1),
        (Level::Agent, root.id.to_string(), 2, 2, 1),
        (Level::Agent, delegate.id.to_string(), 2, 1, 2),
        (Level::Agent, "admin".to_owned(), 0, 0, 0),
        (Level::Task, "task-b".to_owned(), 1, 1, 1),
        (Level::Chain, root.id.to_string(), 2, 2, 1),
    ] {
        let (trail, end) = (test.trail().await.len(), test.services.feed.end());
        let found = test.request_revocation(level, &target, true).await;
        assert_eq!(
            (found.ended, found.agents, found.tasks),
            (Revoked { revoked: true, count }, agents, tasks),
            "{target}"
        );
        assert_eq!((test.trail().await.len(), test.services.feed.end()), (trail, end));
        assert!(tokens.iter().all(|token| test.verify(token).is_ok()), "{level} {target}");
    }
    let unknown = test.request_revocation(Level::Task, "no-such-task", true).await;
    assert_eq!(unknown.ended, Revoked { revoked: false, count: 0 });
    // An agent of a dry run is not barred.
    assert!(test.delegate(&test.bearer(&root.token), &delegate, 50).await.is_ok());
    let found = test.request_revocation(Level::Chain, &root.id, true).await;
    let done = test.request_revocation(Level::Chain, &root.id, false).await;
    assert_eq!((found.ended, found.agents, found.tasks), (done.ended, done.agents, done.tasks));
    assert_eq!(done.ended.count, 3);
}

#[tokio::test]
async fn dry_runs_wait_for_each_other_and_revocations_for_none() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 100).await;
    let turn = test.services.revocations.hold_dry_runs();
    let mut dry_run = Box::pin(test.request_revocation(Level::Agent, &agent.id, true));
    assert!(futures_util::poll!(&mut dry_run).is_pending());
    let other = test.enrol("other-task", 100).await;
    assert_eq!(test.request_revocation(Level::Agent, &other.id, false).await.ended.count, 1);
    assert!(futures_util::poll!(&mut dry_run).is_pending());
    drop(turn);
    assert_eq!(dry_run.await.ended.count, 1);
}

#[tokio::test]
async fn cursor_of_revocation_is_end_of_log_after_its_entries() {
    let test = TestServices::new().await;
    let agent = test.enrol("task", 100).await;
    let position = async |level, target: String| test.request_revocation(level, target, false).await.cursor;
    let before = position(Level::Task, "no-such-task".to_owned()).await;
    assert_eq!(before.position(), 0, "no entry yet");
    // One for the token and one for its session.
    let revoked = position(Level::Token, test.bearer(&agent.token).token_id().to_string()).await;
    assert_eq!((revoked.epoch(), revoked.position()), (before.epoch(), 2));
    assert_eq!(test.services.feed.end().cursor, 2);
    assert_eq!(position(Level::Task, "no-such-task".to_owned()).await, revoked, "what was revoked before");
}
