//! The clock is wrong for a while, with restarts in between.

use agentwrit_verify::Clock;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn keeps_revocation_over_short_start_with_clock_three_hours_ahead() {
    let mut test = TestServices::new().await;
    let (token, agent) = (test.enrol("task-a", 1800).await, test.enrol("task-b", 1800).await);
    test.revoke(Level::Token, test.bearer(&token.token).token_id()).await;
    test.revoke(Level::Agent, &agent.id).await;
    let right = test.clock.now();
    for wrong in [right.saturating_add(HOUR * 3), right.saturating_add(HOUR * 24 * 365)] {
        test.restart_at(wrong).await;
        test.services.housekeeping.delete_expired().await.unwrap();
        // Records of the wrong time do not make it any more certain.
        test.services.logins.issue_admin_token(CLIENT).await.unwrap();
        test.restart_at(wrong.saturating_add(Duration::from_secs(30))).await;
        test.services.housekeeping.delete_expired().await.unwrap();
        test.restart_at(right).await;
        test.services.housekeeping.delete_expired().await.unwrap();
        for ended in [&token.token, &agent.token] {
            assert!(matches!(test.verify(ended), Err(VerifyError::Revoked { .. })), "{:?}", test.verify(ended));
        }
    }
}

#[tokio::test]
async fn keeps_revocation_when_clock_is_corrected_while_broker_runs() {
    let mut test = TestServices::new().await;
    let agent = test.enrol("task", 1800).await;
    test.revoke(Level::Agent, &agent.id).await;
    let right = test.clock.now();
    test.restart_at(right.saturating_add(HOUR * 3)).await;
    test.services.housekeeping.delete_expired().await.unwrap();
    test.clock.set(right);
    assert!(matches!(test.verify(&agent.token), Err(VerifyError::Revoked { .. })));
}

#[tokio::test]
async fn revokes_token_that_is_expired_only_by_clock_ahead() {
    for level in [Level::Token, Level::Agent, Level::Task, Level::Chain] {
        let test = TestServices::new().await;
        let agent = test.enrol("task", 1800).await;
        let jti = test.bearer(&agent.token).token_id();
        let right = test.clock.now();
        test.clock.set(right.saturating_add(HOUR * 3));
        let target = match level {
            Level::Token => jti.to_string(),
            Level::Task => String::from("task"),
            Level::Agent | Level::Chain | Level::Session | Level::Issuer => agent.id.to_string(),
        };
        assert_eq!(test.revoke(level, target).await, Revoked { revoked: true, count: 0 }, "{level}");
        test.clock.set(right);
        assert!(matches!(test.verify(&agent.token), Err(VerifyError::Revoked { .. })), "{level}");
    }
}

#[tokio::test]
async fn keeps_agents_tokens_and_launch_tokens_over_short_start_with_clock_ahead() {
    let mut test = TestServices::new().await;
    let agent = test.enrol("task", 1800).await;
    let right = test.clock.now();
    test.restart_at(right.saturating_add(HOUR * 3)).await;
    test.services.housekeeping.delete_expired().await.unwrap();
    test.restart_at(right).await;
    test.renew(&test.bearer(&agent.token)).await.unwrap();
}

#[tokio::test]
async fn deletes_expired_records_after_an_hour_without_step_or_confirmed_clock() {
    let known = async |test: &TestServices, jti| {
        test.services.housekeeping.delete_expired().await.unwrap();
        test.services.ledger.store.read(move |reader| Ok::<_, Error>(reader.token(&jti)?.is_some())).await.unwrap()
    };
    let mut test = TestServices::new().await;
    let jti = test.bearer(&test.enrol("task", 600).await.token).token_id();
    let morning = test.clock.now().saturating_add(HOUR * 12);
    test.restart_at(morning).await;
    assert!(known(&test, jti).await, "the machine was off, or the clock is ahead");
    assert_eq!(test.services.ledger.clock_monitor.held(test.services.ledger.clock.as_ref()), Some(HOUR * 12));
    test.clock.advance(HOUR);
    assert!(!known(&test, jti).await);
    assert_eq!(test.services.ledger.clock_monitor.warnings(test.services.ledger.clock.as_ref()), []);

    let mut test = TestServices::new().await;
    let jti = test.bearer(&test.enrol("task", 600).await.token).token_id();
    test.services.ledger.store.transact(move |tx| Ok::<_, Error>(tx.record_certain_time(morning)?)).await.unwrap();
    test.restart_without_recording_at(morning).await;
    assert!(!known(&test, jti).await);
}

#[tokio::test]
async fn rejects_login_and_registration_when_token_would_not_be_valid_yet() {
    let test = TestServices::new().await;
    test.enrol("task", 600).await;
    test.services.logins.issue_admin_token(CLIENT).await.unwrap();
    let right = test.clock.now();
    let days = HOUR * 48;
    test.clock.set(right.saturating_add(days));
    test.revoke(Level::Agent, Subject::Admin).await;
    test.revoke(Level::Task, "task").await;
    test.clock.set(right);
    let by = days.saturating_add(Duration::from_millis(600));
    assert_eq!(test.services.logins.issue_admin_token(CLIENT).await.unwrap_err(), Error::ClockBehind { by });
    assert_eq!(test.try_enrol("task", 600).await.map(|_| ()).unwrap_err(), Error::ClockBehind { by });
    let other = test.enrol("another-task", 600).await;
    assert!(test.verify(&other.token).is_ok());
    test.clock.set(right.saturating_add(days));
    let issued = test.services.logins.issue_admin_token(CLIENT).await.unwrap();
    assert!(test.verify(&issued.access_token).is_ok());
}

#[tokio::test]
async fn rejects_launch_token_dated_ahead() {
    let test = TestServices::new().await;
    let right = test.clock.now();
    test.clock.set(right.saturating_add(HOUR));
    let launch_token = test.launch_token("task", 600, true).await;
    test.clock.set(right);
    let outcome = test.register(&launch_token, "task").await.map(|_| ());
    assert_eq!(outcome.unwrap_err(), Error::LaunchTokenExpired);
}

#[tokio::test]
async fn warns_at_start_with_clock_behind_newest_record() {
    let mut test = TestServices::new().await;
    test.enrol("task", 600).await;
    let right = test.clock.now();
    test.restart_at(UnixTime::since_epoch(START.saturating_sub(HOUR))).await;
    let clock = test.services.ledger.clock.as_ref();
    assert_eq!(test.services.ledger.clock_monitor.behind_records(clock.now()), Some(HOUR));
    assert!(test.services.metrics.encode().contains("agentwrit_clock_skew_total 1\n"));
    test.clock.set(right);
    assert_eq!(test.services.ledger.clock_monitor.behind_records(test.services.ledger.clock.now()), None);
}
