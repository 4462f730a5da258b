//! The clock is wrong for a while, with restarts in between.

use agentwrit_verify::Clock;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn keeps_revocation_over_short_start_with_clock_three_hours_ahead() {
    let mut desk = Desk::new().await;
    let (token, agent) = (desk.enrol("task-a", 1800).await, desk.enrol("task-b", 1800).await);
    desk.revoke(Level::Token, desk.claims(&token.token).token_id()).await;
    desk.revoke(Level::Agent, &agent.id).await;
    let right = desk.clock.now();
    for wrong in [right.saturating_add(HOUR * 3), right.saturating_add(HOUR * 24 * 365)] {
        desk.restart_at(wrong).await;
        desk.services.housekeeping.delete_expired().await.unwrap();
        // Records of the wrong time do not make it any more certain.
        desk.services.logins.issue_admin_token(CLIENT).await.unwrap();
        desk.restart_at(wrong.saturating_add(Duration::from_secs(30))).await;
        desk.services.housekeeping.delete_expired().await.unwrap();
        desk.restart_at(right).await;
        desk.services.housekeeping.delete_expired().await.unwrap();
        for ended in [&token.token, &agent.token] {
            assert!(matches!(desk.verify(ended), Err(VerifyError::Revoked { .. })), "{:?}", desk.verify(ended));
        }
    }
}

#[tokio::test]
async fn keeps_revocation_when_clock_is_corrected_while_broker_runs() {
    let mut desk = Desk::new().await;
    let agent = desk.enrol("task", 1800).await;
    desk.revoke(Level::Agent, &agent.id).await;
    let right = desk.clock.now();
    desk.restart_at(right.saturating_add(HOUR * 3)).await;
    desk.services.housekeeping.delete_expired().await.unwrap();
    desk.clock.set(right);
    assert!(matches!(desk.verify(&agent.token), Err(VerifyError::Revoked { .. })));
}

#[tokio::test]
async fn revokes_token_that_is_expired_only_by_clock_ahead() {
    for level in [Level::Token, Level::Agent, Level::Task, Level::Chain] {
        let desk = Desk::new().await;
        let agent = desk.enrol("task", 1800).await;
        let jti = desk.claims(&agent.token).token_id();
        let right = desk.clock.now();
        desk.clock.set(right.saturating_add(HOUR * 3));
        let target = match level {
            Level::Token => jti.to_string(),
            Level::Task => String::from("task"),
            Level::Agent | Level::Chain | Level::Session | Level::Issuer => agent.id.to_string(),
        };
        assert_eq!(desk.revoke(level, target).await, Revoked { revoked: true, count: 0 }, "{level}");
        desk.clock.set(right);
        assert!(matches!(desk.verify(&agent.token), Err(VerifyError::Revoked { .. })), "{level}");
    }
}

#[tokio::test]
async fn keeps_agents_tokens_and_launch_tokens_over_short_start_with_clock_ahead() {
    let mut desk = Desk::new().await;
    let agent = desk.enrol("task", 1800).await;
    let right = desk.clock.now();
    desk.restart_at(right.saturating_add(HOUR * 3)).await;
    desk.services.housekeeping.delete_expired().await.unwrap();
    desk.restart_at(right).await;
    desk.renew(&desk.claims(&agent.token)).await.unwrap();
}

#[tokio::test]
async fn deletes_expired_records_after_an_hour_without_step_or_confirmed_clock() {
    let known = async |desk: &Desk, jti| {
        desk.services.housekeeping.delete_expired().await.unwrap();
        desk.services.ledger.store.read(move |reader| Ok::<_, Error>(reader.token(&jti)?.is_some())).await.unwrap()
    };
    let mut desk = Desk::new().await;
    let jti = desk.claims(&desk.enrol("task", 600).await.token).token_id();
    let morning = desk.clock.now().saturating_add(HOUR * 12);
    desk.restart_at(morning).await;
    assert!(known(&desk, jti).await, "the machine was off, or the clock is ahead");
    assert_eq!(desk.services.ledger.clock_monitor.held(desk.services.ledger.clock.as_ref()), Some(HOUR * 12));
    desk.clock.advance(HOUR);
    assert!(!known(&desk, jti).await);
    assert_eq!(desk.services.ledger.clock_monitor.warnings(desk.services.ledger.clock.as_ref()), []);

    let mut desk = Desk::new().await;
    let jti = desk.claims(&desk.enrol("task", 600).await.token).token_id();
    desk.services.ledger.store.transact(move |tx| Ok::<_, Error>(tx.record_certain_time(morning)?)).await.unwrap();
    desk.restart_without_recording_at(morning).await;
    assert!(!known(&desk, jti).await);
}

#[tokio::test]
async fn rejects_login_and_registration_when_token_would_not_be_valid_yet() {
    let desk = Desk::new().await;
    desk.enrol("task", 600).await;
    desk.services.logins.issue_admin_token(CLIENT).await.unwrap();
    let right = desk.clock.now();
    let days = HOUR * 48;
    desk.clock.set(right.saturating_add(days));
    desk.revoke(Level::Agent, Subject::Admin).await;
    desk.revoke(Level::Task, "task").await;
    desk.clock.set(right);
    let by = days.saturating_add(Duration::from_millis(600));
    assert_eq!(desk.services.logins.issue_admin_token(CLIENT).await.unwrap_err(), Error::ClockBehind { by });
    assert_eq!(desk.try_enrol("task", 600).await.map(|_| ()).unwrap_err(), Error::ClockBehind { by });
    let other = desk.enrol("another-task", 600).await;
    assert!(desk.verify(&other.token).is_ok());
    desk.clock.set(right.saturating_add(days));
    let issued = desk.services.logins.issue_admin_token(CLIENT).await.unwrap();
    assert!(desk.verify(&issued.access_token).is_ok());
}

#[tokio::test]
async fn rejects_launch_token_dated_ahead() {
    let desk = Desk::new().await;
    let right = desk.clock.now();
    desk.clock.set(right.saturating_add(HOUR));
    let launch_token = desk.launch_token("task", 600, true).await;
    desk.clock.set(right);
    let outcome = desk.register(&launch_token, "task").await.map(|_| ());
    assert_eq!(outcome.unwrap_err(), Error::LaunchTokenExpired);
}

#[tokio::test]
async fn warns_at_start_with_clock_behind_newest_record() {
    let mut desk = Desk::new().await;
    desk.enrol("task", 600).await;
    let right = desk.clock.now();
    desk.restart_at(UnixTime::since_epoch(START.saturating_sub(HOUR))).await;
    let clock = desk.services.ledger.clock.as_ref();
    assert_eq!(desk.services.ledger.clock_monitor.behind_records(clock.now()), Some(HOUR));
    assert!(desk.services.metrics.encode().contains("agentwrit_clock_skew_total 1\n"));
    desk.clock.set(right);
    assert_eq!(desk.services.ledger.clock_monitor.behind_records(desk.services.ledger.clock.now()), None);
}
